"""A keras.json that Keras stumbles over is blamed by its own name.  No Keras here."""

import json
import sys
from types import SimpleNamespace

import pytest

from common.errors import Refused
from common.keras_backend import keras_on, settings_file


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder of Keras's own, and a Keras that anybody may import."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    keras_is_on("tensorflow", monkeypatch)
    return tmp_path / "keras.json"


def keras_is_on(backend, monkeypatch):
    """As if this process had imported Keras."""
    config = SimpleNamespace(
        backend=lambda: backend,
        set_floatx=lambda _: None,
        set_image_data_format=lambda _: None,
        set_epsilon=lambda _: None,
    )
    monkeypatch.setitem(sys.modules, "keras", SimpleNamespace(config=config))


def test_the_file_is_where_keras_looks_for_it(home, monkeypatch, tmp_path):
    assert settings_file() == home
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert settings_file() == tmp_path / ".keras" / "keras.json"


def test_a_file_that_put_keras_on_another_framework_is_named(home, monkeypatch):
    home.write_text('{"backend": "jax"}')
    keras_is_on("jax", monkeypatch)
    with pytest.raises(Refused) as refusal, keras_on("tensorflow"):
        pass
    assert str(refusal.value) == (
        "the tensorflow track needs Keras on TensorFlow, found Keras on jax in this "
        f"process, which {home} names; take that out of {home}, or use a process of "
        "its own"
    )


@pytest.mark.parametrize("said", ["{}", '{"backend": "torch"}', "no JSON"])
def test_a_file_that_did_not_do_it_is_not_named(said, home, monkeypatch):
    home.write_text(said)
    keras_is_on("jax", monkeypatch)
    line = "this process; use a process"
    with pytest.raises(Refused, match=line) as refusal, keras_on("tensorflow"):
        pass
    assert str(home) not in str(refusal.value)


@pytest.mark.parametrize("backend", ["torch", "jax", "nonsense"])
def test_another_backend_in_the_file_disturbs_nothing_before_keras_is_there(
    backend, home
):
    home.write_text(json.dumps({"backend": backend, "floatx": "float64"}))
    with keras_on("tensorflow"):
        pass


@pytest.mark.parametrize(
    ("said", "blamed"),
    [
        ({"floatx": "bfloat16"}, "has floatx 'bfloat16'"),
        ({"epsilon": 1}, "has epsilon 1"),
        ({"image_data_format": "nchw"}, "has image_data_format 'nchw'"),
        ([], "is list"),
    ],
)
def test_a_file_that_keras_ends_on_is_refused_by_its_name(said, blamed, home):
    home.write_text(json.dumps(said))
    with pytest.raises(Refused) as refusal, keras_on("tensorflow"):
        pass
    assert f"{home} {blamed}; mend or delete it" in str(refusal.value)


@pytest.mark.parametrize("said", ["", "{", "\udcff", "{}"])
def test_a_file_that_keras_takes_no_notice_of_is_left_alone(said, home):
    home.write_bytes(said.encode(errors="surrogateescape"))
    with keras_on("tensorflow"):
        pass
