"""A user's own Keras model, opened for `twintrack port`.  Twin: pt_track/ports."""

from tf_track.ports.learn import Learner
from tf_track.ports.model import Opened, opened

__all__ = ["Learner", "Opened", "opened"]
