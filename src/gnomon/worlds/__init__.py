"""The worlds behind the touchstones: grammars, recipes, building, and acceptance.

Heavy libraries are imported inside the functions that need them. The room does not know the command line.
"""
