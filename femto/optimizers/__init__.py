"""What turns gradients into updates: optimisers, and the learning rate."""
