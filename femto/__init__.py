"""femto trains small GPT language models on CPU cores."""
