"""Files from the network: downloaded whole or not at all, checked, and unpacked with care."""
