"""The zoo: one file per family of architectures, each model registered with timm under a name of its own."""
