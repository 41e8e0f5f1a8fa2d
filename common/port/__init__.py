"""Two models of a user, in PyTorch and in Keras: where they part, and why.

What is here knows no framework.  Each track tells its model as `Unit`s, what has
weights, and as `Step`s, what is computed one after the other; here units are matched,
steps followed until they part, and causes tried.
"""
