def arguments(p): pass
