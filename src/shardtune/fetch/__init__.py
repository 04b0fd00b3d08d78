"""`shardtune fetch`: the photographs of flowers as a data set, and pretrained weights."""
