"""A user's own PyTorch model, opened for `twintrack port`.  Twin: tf_track/ports."""

from pt_track.ports.compute import compute
from pt_track.ports.learn import Learner
from pt_track.ports.model import Opened, opened

__all__ = ["Learner", "Opened", "compute", "opened"]
