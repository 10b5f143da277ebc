"""Looking into models: their relatives, what they know, and why one is stuck."""
