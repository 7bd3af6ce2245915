"""The original tool's training, written afresh from its description to measure against; nothing else uses it."""
