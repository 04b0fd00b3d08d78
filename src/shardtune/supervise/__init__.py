"""Start a command on many processes and, if it is training, keep it running until it has finished."""
