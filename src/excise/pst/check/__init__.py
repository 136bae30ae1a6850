"""What a repair tool would complain of, layer by layer."""
