"""Give a trained model away: TensorFlow, Keras, ONNX and LiteRT models, checked, with a model card."""
