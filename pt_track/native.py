"""Being written."""
def build_native(spec, *, seed, device="cpu"): raise NotImplementedError
def train_native(*a, **k): raise NotImplementedError
