"""The options that mean the same in every command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Systems = Annotated[
    list[str] | None, typer.Argument(help="Systems, as twintrack list names them.")
]
System = Annotated[
    list[str] | None,
    typer.Option("--system", help="A module that registers a system of yours."),
]
Data = Annotated[
    str, typer.Option(help="digits, mnist, cifar10, or a folder of pictures.")
]
MaybeData = Annotated[
    str | None, typer.Option(help="A data set; seeded pictures unless given.")
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out files that are no pictures.")
]
Size = Annotated[
    str | None,
    typer.Option(
        help="HxW that a folder's photos are fitted into; N resizes any to N x N."
    ),
]
Side = Annotated[
    int | None,
    typer.Option("--size", help="Pixels a side that every picture is resized to."),
]
HowToFit = Annotated[
    str,
    typer.Option(
        help="fit cuts the longer side, as data sets did; pad adds bars; stretch; "
        "centre, as for ImageNet."
    ),
]
MaybeHowToFit = Annotated[
    str | None,
    typer.Option(
        help="fit cuts the longer side, as data sets did; pad adds bars; stretch; "
        "centre, as for ImageNet.  [the network's own]"
    ),
]
MaybeResampling = Annotated[
    str | None,
    typer.Option(
        help="nearest, box, bilinear, hamming, bicubic or lanczos.  [the network's own]"
    ),
]
Resampling = Annotated[
    str, typer.Option(help="nearest, box, bilinear, hamming, bicubic or lanczos.")
]
Colour = Annotated[
    str, typer.Option(help="Behind transparent parts and padding: a name or #7d7b72.")
]
Tracks = Annotated[str, typer.Option(help="Tracks, with commas between.")]
Precision = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float64.")]
Device = Annotated[str, typer.Option(help="auto, cpu or gpu.")]
Threads = Annotated[
    int | None,
    typer.Option(
        help="Threads per run; all cores unless a step is too small to share."
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a field: recipe.lr=0.05."),
]
Epochs = Annotated[int | None, typer.Option(help="Epochs, in place of the recipe's.")]
Limit = Annotated[
    int | None, typer.Option(help="At most so many training pictures, stratified.")
]
TimeLimit = Annotated[
    float, typer.Option(help="Seconds after which a run is given up.")
]
Save = Annotated[
    Path | None,
    typer.Option(help="Folder for contact sheets and other pictures of the result."),
]
Margin = Annotated[
    float, typer.Option(help="Largest difference that does not matter, a share.")
]
Json = Annotated[Path | None, typer.Option(help="Also write the result to this file.")]
Store = Annotated[
    Path | None,
    typer.Option(help="Folder of the results; TWINTRACK_STORE, else runs."),
]
Cache = Annotated[
    Path | None,
    typer.Option(help="Folder of the cache; TWINTRACK_CACHE, else ~/.cache/twintrack."),
]
