"""The competition kit: from a folder of images to the top of a leaderboard. docs/design.md draws its layers."""

# Packages whose modules register models with timm. They are imported when a model is first looked up by name, so the
# papers' models work in every program although no module of the kit imports them.
MODEL_PACKAGES = ("comp.zoo", "comp.papers.models")
