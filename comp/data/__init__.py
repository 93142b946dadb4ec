"""Images on disk: scan, check, split, cache, import and export, and a drawn demo competition."""
