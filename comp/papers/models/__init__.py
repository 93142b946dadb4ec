"""The papers' models, one file per family, registered with timm."""
