"""Contrastive representation learning and few-shot segmentation for biological image volumes."""
