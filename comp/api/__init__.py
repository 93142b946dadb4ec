"""The functions of `import comp`: what the programs and commands do, for notebooks and programs."""

import warnings

# tqdm.auto, which timm's hub imports, warns in a notebook without ipywidgets; the kit's bars need none.
warnings.filterwarnings("ignore", "IProgress not found")
