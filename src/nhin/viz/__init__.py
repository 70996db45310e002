"""What ``nhin list`` prints and ``nhin show`` draws: the catalogue of mechanisms, formulas as text, figures.
May import everything of the library below studies; ``catalogue`` collects, ``listing`` prints, the others
draw.
"""
