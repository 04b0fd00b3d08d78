"""What a trained model is worth, and what people do with it."""
