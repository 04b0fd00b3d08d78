"""From the bytes of an image file to the JPEG that an example holds, or the reason why there is none. Imports no TensorFlow."""
