"""The zoo: one file per family of architectures, each entry registered with timm under a name of its own."""

from comp.zoo import gupta, gupta_autoclassifier, karakus, pinto, sharif  # noqa: F401  importing a family registers it
