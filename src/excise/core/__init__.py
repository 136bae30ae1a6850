"""What every layer may use: errors, digests, the clock, safe text, durable files, locks."""
