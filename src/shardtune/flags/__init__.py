"""From the words of a command line to the configuration of a command."""
