"""`shardtune report`: a run, or several, as one HTML page."""
