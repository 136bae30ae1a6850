"""What the layers above talk about: messages, items, outcomes."""
