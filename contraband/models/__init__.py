"""Networks: the U-Net base encoder, the heads on it, and the predictor that wraps a checkpoint."""
