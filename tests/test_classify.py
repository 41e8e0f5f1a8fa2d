"""Photos in, both networks' words out; what cannot be asked is said in one line."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image

import common
from benchmarks import classify as command
from benchmarks.classify import classify
from benchmarks.compare import compare
from benchmarks.engine.networks import Networks, Trained
from common import codec, model_file
from common.data import DataRequest, open_data
from common.errors import Failed, Refused
from common.photos.decode import BadPicture, Framing, read
from common.photos.sort import DEEPEST, files
from common.report.photos import answer, text, together
from common.results import WEIGHTS, Store
from common.strangeness import probabilities, scores
from common.track import DEFAULT
from common.weights import read as read_weights
from common.weights import write

ROOT = Path(__file__).parents[1]
from common.spec import MLPSpec
from common.weights import draw

TRACK = "tests.numpy_track"
NUMPY = {"tracks": TRACK, "threads": 1, "set": ["spec.hidden=(16,)"]}
EXACT = 1e-12  # the same float64 operations
# float32 logits of order one in two frameworks, as probabilities.
FLOAT32 = 1e-5
MANY = 300  # photos whose memory is measured
PAGE = 3_000_000  # bytes of one decoded photo there: far above what may be kept of it
ROOM = 60_000_000  # bytes that blocks, sheets and the allocator may take


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWINTRACK_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two finished runs, seed 1 the newer."""
    place = tmp_path_factory.mktemp("runs")
    compare(["rasbt-mlp"], seeds=2, epochs=2, limit=300, store=place, **NUMPY)
    return place


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    """The same in float64, in which the tests count."""
    place = tmp_path_factory.mktemp("runs")
    options = {"seeds": 2, "epochs": 2, "limit": 300, "mode": "strict", **NUMPY}
    compare(["rasbt-mlp"], store=place, **options)
    return place


@pytest.fixture
def shots(tmp_path):
    folder = tmp_path / "shots"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(3):
        pixels = rng.integers(0, 256, (20 + k, 30, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{k}.png")
    return folder


def newest(store):
    return next(Store(store).latest())


# --- what is said -------------------------------------------------------------------


def test_an_answer_by_hand():
    logits = np.log([0.2, 0.5, 0.3])
    among = {name: np.array([0.0, 1.0]) for name in scores(logits[None])}
    found = answer(logits, ("a", "b", "c"), among, 2)
    assert [row["label"] for row in found["top"]] == ["b", "c"]
    assert found["top"][0]["probability"] == pytest.approx(0.5)
    assert found["energy"] == pytest.approx(0, abs=EXACT)
    assert found["percentiles"]["max_probability"] == 50
    assert found["strangeness"] == found["percentiles"]["energy"]
    assert answer(logits, ("a", "b", "c"), None, 1)["strangeness"] is None


def test_ties_are_in_the_order_of_the_labels():
    found = answer(np.zeros(3), ("a", "b", "c"), None, 3)
    assert [row["label"] for row in found["top"]] == ["a", "b", "c"]


def test_the_text_says_whether_both_agree():
    one = answer(np.array([2.0, 0.0]), ("cat", "dog"), None, 2)
    two = answer(np.array([0.0, 2.0]), ("cat", "dog"), None, 2)
    both = together("x.png", (3, 4), ("note",), {"torch": one, "tensorflow": one}, None)
    assert both["agree"]
    assert text(both).endswith("both say cat")
    assert text(both).startswith("x.png  (4 x 3, note)")
    apart = together("x.png", (3, 4), (), {"torch": one, "tensorflow": two}, None)
    assert not apart["agree"]
    assert "they disagree: torch cat, tensorflow dog" in text(apart)


# --- the command --------------------------------------------------------------------


def test_the_newest_run_answers_as_its_own_logits_say(exact, shots, tmp_path, capsys):
    out = tmp_path / "out.json"
    found = classify([shots], tracks=TRACK, store=exact, json=out, top=99)
    assert json.loads(out.read_bytes()) == found
    run = newest(exact)
    assert run.record["seed"] == 1
    weights = run.weights()
    for photo, path in zip(found["photos"], sorted(shots.iterdir()), strict=True):
        pixels = read(path, Framing(size=(8, 8), channels=1)).pixels
        x = pixels.reshape(-1) / 255
        hidden = np.maximum(
            x @ weights["hidden.0.kernel"] + weights["hidden.0.bias"], 0
        )
        logits = hidden @ weights["head.kernel"] + weights["head.bias"]
        told = photo["tracks"][TRACK]
        best = told["top"][0]
        assert len(told["top"]) == 10
        assert best["label"] == str(logits.argmax())
        chance = probabilities(logits[None])[0].max()
        assert best["probability"] == pytest.approx(chance, rel=EXACT)
        energies = scores(run.logits())["energy"]
        share = (energies < told["energy"]).mean() * 100
        assert told["strangeness"] == pytest.approx(share, abs=0.2)
        assert photo["agree"] is None  # there is nobody to agree with
    assert f"{TRACK} says" in capsys.readouterr().out


def test_what_was_seen_and_contact_sheets_are_written(store, shots, tmp_path):
    seen = tmp_path / "seen"
    classify([shots], tracks=TRACK, store=store, save=seen)
    names = sorted(path.name for path in seen.iterdir())
    assert names == [
        "0001-0-seen.png",
        "0002-1-seen.png",
        "0003-2-seen.png",
        "sheet-1.png",
    ]
    with Image.open(seen / "0001-0-seen.png") as picture:
        right = np.asarray(picture)[:320, -320:]
    pixels = read(shots / "0.png", Framing(size=(8, 8), channels=1)).pixels
    assert np.array_equal(right[20::40, 20::40, 0], pixels[..., 0])


def test_photos_in_folders_named_like_classes_are_judged(store, tmp_path, capsys):
    digits = open_data(DataRequest(source="digits", limit=300))
    pages, labels = digits.test.take(slice(0, 40)), digits.test.labels[:40]
    for k, (page, label) in enumerate(zip(pages, labels, strict=True)):
        (tmp_path / str(label)).mkdir(exist_ok=True)
        Image.fromarray(page[..., 0]).save(tmp_path / str(label) / f"{k}.png")
    found = classify([tmp_path], tracks=TRACK, store=store)["labelled"]
    right = newest(store).correct[:40]
    assert found["photos"] == 40
    assert found["tracks"][TRACK]["photos"]["mean"] == right.mean()
    accuracy = newest(store).record["scores"]["accuracy"]
    assert found["tracks"][TRACK]["test"]["mean"] == pytest.approx(accuracy)
    assert "40 photos in folders named 0, 1, 2" in capsys.readouterr().out


def test_bad_files_leave_the_rest_of_the_batch_standing(store, shots, tmp_path, capsys):
    (shots / "4.png").write_text("text")
    (shots / "5.jpg").write_bytes((shots / "0.png").read_bytes()[:200])
    (shots / "6.svg").write_text("<svg/>")
    os.mkfifo(shots / "7.png")
    (shots / "8.png").symlink_to(shots / "8.png")
    (shots / "round").symlink_to(shots)
    odd = shots / os.fsdecode(b"caf\xe9.png")
    odd.write_bytes((shots / "1.png").read_bytes())
    out = tmp_path / "out.json"
    with pytest.raises(Failed, match="6 of 10 could not"):
        classify([shots], tracks=TRACK, store=store, json=out, save=tmp_path / "seen")
    found = json.loads(out.read_bytes())
    path = Path(common.__file__).parent / "schema" / "classify.json"
    jsonschema.validate(found, json.loads(path.read_text()))
    photos = found["photos"]
    assert [("error" in p) for p in photos] == [False] * 3 + [True] * 5 + [False, True]
    assert photos[8]["file"].endswith(r"caf\xe9.png")
    assert all("\n" not in p["error"] for p in photos if "error" in p)
    assert "a link to a folder, which is not followed" in photos[9]["error"]
    assert "SVG" in capsys.readouterr().out


@pytest.mark.parametrize("given", [["none.png"], ["none.png", "text.png"], ["none/"]])
def test_no_framework_starts_where_no_photo_can_be_read(store, shots, given):
    """A wrong path is said at once, not after the seconds that a framework takes."""
    (shots / "text.png").write_text("text")

    def started(*given, **named):
        pytest.fail("a network was started")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmarks.engine.networks.Child", started)
        with pytest.raises(Failed, match=f"{len(given)} of {len(given)} could not"):
            classify([shots / name for name in given], tracks=TRACK, store=store)


def test_what_systems_leave_is_no_photo_and_is_counted(store, shots, capsys):
    """Also where a shell names it, as photos/* does; a hidden photo can be named."""
    for name in ("Thumbs.db", ".DS_Store", "._0.png", "__MACOSX/0.png", ".git/x"):
        (shots / name).parent.mkdir(exist_ok=True)
        (shots / name).write_text("no picture")
    hidden = shots / ".mine.png"
    hidden.write_bytes((shots / "0.png").read_bytes())
    found = classify([shots], tracks=TRACK, store=store)
    assert found["n_photos"] == 3
    assert "6 hidden or system entries ignored (" in capsys.readouterr().err
    named = [shots / "0.png", shots / "Thumbs.db", hidden]
    assert classify(named, tracks=TRACK, store=store)["n_photos"] == 2
    assert "1 hidden or system entry ignored (Thumbs.db)" in capsys.readouterr().err
    with pytest.raises(Refused, match=r"needs a photo, got none in \S+Thumbs.db"):
        classify(shots / "Thumbs.db", tracks=TRACK, store=store)


def test_folders_without_end_are_named(tmp_path):
    folder = tmp_path / Path(*["d"] * (DEEPEST + 3))
    folder.mkdir(parents=True)
    (folder / "0.png").write_text("never reached")
    (found,) = files([tmp_path])
    assert isinstance(found, BadPicture)
    assert f"a folder more than {DEEPEST} deep" in str(found)


def test_labels_may_have_commas_and_spaces_at_their_ends(store, shots):
    file = newest(store).path / WEIGHTS
    names = ["salt, pepper", " x ", *"cdefgh"]
    asked = {"weights": file, "tracks": TRACK, "store": store, "top": 10}
    found = classify(shots / "0.png", classes="a,b", one_class=names, **asked)
    said = {row["label"] for row in found["photos"][0]["tracks"][TRACK]["top"]}
    assert said == {"a", "b", *names}
    with pytest.raises(Refused, match="labels of a --weights file, as --class does"):
        classify(shots / "0.png", one_class=names, tracks=TRACK, store=store)


def test_a_folder_that_cannot_be_read_is_one_line(store, shots):
    """As a user without the rights: root may read everything."""
    closed = shots / "closed"
    closed.mkdir()
    code = (
        "import os, sys; from pathlib import Path; from common.photos import sort\n"
        "os.geteuid() == 0 and os.seteuid(65534)\n"
        "print([str(p) for p in sort.files([Path(sys.argv[1])])])"
    )
    for folder in (shots, *shots.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/tmp"):
            folder.chmod(0o755)
    closed.chmod(0)
    done = subprocess.run(
        [sys.executable, "-c", code, str(shots)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    closed.chmod(0o755)
    assert "a folder that cannot be read: Permission denied" in done.stdout


# One photo, then many, in a process of its own: one that has held more before would
# hide what is held now.
MEASURED = """
import os, sys
from pathlib import Path
from benchmarks.classify import classify

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith("VmHWM"))

folder, track, store = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
said, sys.stdout = sys.stdout, open(os.devnull, "w")
one = classify([folder / "000.bmp"], tracks=track, store=store)
before = peak()
many = classify([folder], tracks=track, store=store)
print(len(one["photos"]), len(many["photos"]), 1024 * (peak() - before), file=said)
"""


def test_memory_does_not_grow_with_the_number_of_photos(store, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    large = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3)).astype(np.uint8)
    Image.fromarray(large).save(folder / "000.bmp")
    for k in range(1, MANY):
        (folder / f"{k:03}.bmp").hardlink_to(folder / "000.bmp")
    words = [str(folder), TRACK, str(store)]
    found = subprocess.run(
        [sys.executable, "-c", MEASURED, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    one, many, grown = map(int, found.stdout.split())
    assert (one, many) == (1, MANY)
    assert grown < ROOM < MANY * PAGE


# --- which networks -----------------------------------------------------------------


def test_a_weights_file_is_known_again_by_its_content(store, shots, tmp_path):
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes((newest(store).path / "weights.safetensors").read_bytes())
    kwargs = {"tracks": TRACK, "store": store}
    from_file = classify([shots], weights=copy, json=tmp_path / "a", **kwargs)
    from_run = classify([shots], json=tmp_path / "b", **kwargs)
    for one, two in zip(from_file["photos"], from_run["photos"], strict=True):
        assert one["tracks"] == two["tracks"]
    elsewhere = classify(
        [shots], weights=copy, json=tmp_path / "c", tracks=TRACK, store=tmp_path / "no"
    )
    told = elsewhere["photos"][0]["tracks"][TRACK]
    assert told["strangeness"] is None
    assert told["top"][0]["label"].startswith("class ")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"system": "deep-cnn"}, "got none with --system deep-cnn"),
        ({"weights": Path("none.safetensors")}, "a weights file must exist"),
        ({"weights": "text"}, "must be one that torch or Keras wrote, .* is a text"),
        ({"weights": "bare"}, "must say what network it is of"),
        ({"weights": "renamed"}, "is damaged or of another network: .*head.bias"),
        ({"weights": "good", "system": "rasbt-mlp"}, "of the architecture of --system"),
        ({"weights": "good", "classes": "a,b"}, "each of the 10 classes .*, got 2"),
        ({"classes": "a,b"}, "--classes names the labels of a --weights file"),
        ({"weights": "nan"}, "weights must be finite numbers, got others in head.bias"),
        ({"weights": "deep"}, "a spec must be one that twintrack wrote"),
        ({"save": Path(__file__)}, "--save must be a folder"),
        ({"top": 0}, "--top must be above 0"),
        ({"how": "squeeze"}, "--how must be one of"),
    ],
)
def test_what_cannot_be_asked_is_refused(store, shots, tmp_path, options, says):
    good = newest(store).path / "weights.safetensors"
    weights, header = read_weights(good)
    file = tmp_path / "file.safetensors"
    match options.get("weights"):
        case "text":
            file.write_text("not tensors")
        case "bare":
            write(file, weights, {})
        case "renamed":
            write(file, {n: w for n, w in weights.items() if n != "head.bias"}, header)
        case "nan":
            write(file, weights | {"head.bias": weights["head.bias"] * np.nan}, header)
        case "deep":
            write(file, weights, {"spec": "[" * 100_000})
        case "good":
            write(file, weights, {"spec": codec.dumps(codec.loads(header["spec"]))})
    if isinstance(options.get("weights"), str):
        options = options | {"weights": file}
    with pytest.raises(Refused, match=says):
        classify([shots], tracks=TRACK, store=store, **options)


def test_a_pickle_is_never_opened(store, shots, tmp_path):
    import pickle

    trap = tmp_path / "trap"
    bomb = type("Bomb", (), {"__reduce__": lambda _: (Path.touch, (trap,))})()
    pickle.loads(pickle.dumps(bomb))
    assert trap.exists()  # it would go off
    trap.unlink()
    file = tmp_path / "weights.safetensors"
    for content in (pickle.dumps(bomb), b"\x93NUMPY" + pickle.dumps(bomb)):
        file.write_bytes(content)
        with pytest.raises(Refused, match="a weights file must be"):
            classify([shots], weights=file, tracks=TRACK, store=store)
        (shots / "x.png").write_bytes(content)
        with pytest.raises(Failed, match="1 of 4 could not"):
            classify([shots], tracks=TRACK, store=store)
    assert not trap.exists()


def test_an_empty_folder_and_names_beyond_reason(store, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused, match="classify needs a photo, got none in"):
        classify([tmp_path / "empty"], tracks=TRACK, store=store)
    with pytest.raises(Failed, match="1 of 1 could not"):
        classify([Path("x" * 300)], tracks=TRACK, store=store)


def test_names_that_are_alike_or_long_lose_no_picture(store, shots, tmp_path):
    (shots / "sub").mkdir()
    content = (shots / "0.png").read_bytes()
    (shots / "sub" / "0.png").write_bytes(content)
    (shots / ("y" * 240 + ".png")).write_bytes(content)
    classify([shots], tracks=TRACK, store=store, save=tmp_path / "seen")
    assert len(list((tmp_path / "seen").glob("*-seen.png"))) == 5


def test_a_photo_that_is_gone_when_it_is_drawn_is_one_line(
    store, shots, tmp_path, monkeypatch, capsys
):
    def gone(*_):
        raise BadPicture("0.png", "No such file", "name a file")

    monkeypatch.setattr(command.drawings, "save_seen", gone)
    classify([shots], tracks=TRACK, store=store, save=tmp_path / "seen")
    assert capsys.readouterr().out.count("answered but not drawn: a photo must") == 3


def test_an_empty_store_says_what_to_do(shots, tmp_path):
    with pytest.raises(Refused, match="run twintrack compare first"):
        classify([shots], store=tmp_path / "nothing")


# --- both frameworks ----------------------------------------------------------------


def test_both_frameworks_give_the_same_answers_from_the_same_file(tmp_path, shots):
    """And get the same pixels: what is sent is one array."""
    from common.systems import resolve
    from common.weights import draw

    spec = resolve("small-cnn", image=(8, 8, 1), classes=10).spec
    file = tmp_path / "weights.safetensors"
    write(file, draw(spec.weights, 3), {"spec": codec.dumps(spec)})
    found = classify([shots], weights=file, store=tmp_path, json=tmp_path / "out")
    assert len(found["photos"]) == 3
    for photo in found["photos"]:
        assert photo["tracks"].keys() == set(DEFAULT)
        assert photo["agree"]
        assert photo["largest_difference"] < FLOAT32


def test_the_same_pixels_reach_both_networks(shots):
    """Networks that answer with what they see: one hash, that of the one decoder."""
    import tensorflow as tf
    import torch

    import pt_track
    import tf_track

    class Echo(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))  # says where it lives

        def forward(self, x):
            return x.permute(0, 2, 3, 1).flatten(1).double()

    def echo(x, training):
        return tf.cast(tf.reshape(x, (tf.shape(x)[0], -1)), tf.float64)

    framing = Framing(size=(16, 16))
    pixels = np.stack([read(p, framing).pixels for p in sorted(shots.iterdir())])
    seen = {
        hashlib.sha256(predict(pixels).astype(np.uint8).tobytes()).hexdigest()
        for predict in (pt_track.predictor(Echo()), tf_track.predictor(echo))
    }
    assert seen == {hashlib.sha256(pixels.tobytes()).hexdigest()}


def test_a_network_whose_file_is_broken_says_so_in_one_line(tmp_path):
    file = tmp_path / "weights.safetensors"
    file.write_text("broken")
    networks = Networks({"it": Trained(weights=file, track=TRACK)})
    with networks, pytest.raises(Refused, match="must be whole safetensors"):
        networks(np.zeros((1, 8, 8, 1), np.uint8))


def test_a_network_that_dies_is_reported_with_its_log(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMPY_TRACK_FAULT", "kill-child@predict")
    spec = MLPSpec(image=(8, 8, 1), classes=10, hidden=(4,))
    file = tmp_path / "weights.safetensors"
    model_file.save(file, spec, draw(spec.weights, 0), model_file.About())
    networks = Networks({"it": Trained(weights=file, track=TRACK)})
    with networks, pytest.raises(Failed, match="must answer, it was ended by SIGKILL"):
        networks(np.zeros((1, 8, 8, 1), np.uint8))


def test_one_photo_may_be_named_by_a_text(store, shots, capsys):
    """Its letters are not photos."""
    (first, *_) = sorted(p for p in shots.iterdir() if p.suffix == ".png")
    one = classify(str(first), tracks=[TRACK], store=str(store))
    many = classify([str(first)], tracks=TRACK, store=store)
    assert one == many
    assert [photo["file"] for photo in one["photos"]] == [str(first)]
