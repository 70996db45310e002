"""One module per command of ``nhin``, and the output they share; each loads what it needs when called.

May import everything; nothing imports it, and importing it loads no torch.
"""
