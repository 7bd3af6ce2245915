"""What one training batch is made of: volumes, points, views, augmentations, as gunpowder pipelines."""
