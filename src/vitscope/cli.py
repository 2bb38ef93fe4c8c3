"""The command line: arguments only. What a command does is in :mod:`vitscope.api`."""

from __future__ import annotations

import os
import sys
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer

from vitscope.errors import ArgumentError, VitscopeError

app = typer.Typer(
    name="vitscope",
    help="See a vision transformer's way from data to decision.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Photos = Annotated[list[Path], typer.Argument(help="One photo or several.", metavar="IMAGE...", show_default=False)]
Ref = Annotated[
    str, typer.Option("--model", help="builtin:, hf:, timm:, torchvision:, open_clip: and a name, or a local folder.", metavar="REF")
]
OwnRef = Annotated[str | None, typer.Option("--model", help="As for explain (default: the one the file names).", metavar="REF")]
Weights = Annotated[
    Path | None, typer.Option("--weights", help="A local checkpoint (.safetensors, or .pth without pickled code).", metavar="FILE")
]
Labels = Annotated[
    Path | None, typer.Option("--labels", help="Class names, one a line; of a model of pictures and texts: the texts.", metavar="FILE")
]
InputSize = Annotated[
    str | None, typer.Option("--input-size", help="Feed the model this many pixels: 448 or 448x672 (height x width).", metavar="H[xW]")
]
Out = Annotated[
    Path | None, typer.Option("--out", help="FILE.html (report), FILE.png, FILE.npz, or a folder for one file each.", metavar="FILE|DIR")
]
Seed = Annotated[int, typer.Option("--seed", help="For everything random.", min=0)]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1 …")]
Dtype = Annotated[str, typer.Option("--dtype", help="float32, float64, bfloat16 or float16.")]
DeviceMap = Annotated[
    str | None,
    typer.Option("--device-map", help="hf: models over several devices: auto, balanced, sequential or one device.", metavar="auto|…"),
]
Quantize = Annotated[str | None, typer.Option("--quantize", help="hf: models in fewer bits: 8bit or 4bit.", metavar="8bit|4bit")]
Threads = Annotated[int | None, typer.Option("--threads", help="CPU threads (default: all).", min=1)]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, no summary: only errors.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback with an error.")]


@app.command()
def explain(
    photos: Photos,
    model: Ref = "builtin:photos",
    weights: Weights = None,
    labels: Labels = None,
    input_size: InputSize = None,
    method: Annotated[
        list[str] | None, typer.Option("--method", help="One of the methods; give it several times for several.", metavar="NAME")
    ] = None,
    layer: Annotated[int | None, typer.Option("--layer", help="Block number; -1 is the last.")] = None,
    head: Annotated[str | None, typer.Option("--head", help="A head number, mean (default), max or min.")] = None,
    query: Annotated[
        str | None,
        typer.Option(
            "--query", help="pooled (what the head reads; default), cls, a patch as ROW,COLUMN; of a detector box:NUMBER, box:LABEL."
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            help="Label or number to explain (default: the top prediction); of a model of pictures and texts text:WORDS; without a head "
            "feature:12, similar-to:PHOTO, axis:0@FILE.vectors; of segmentation pixel:ROW,COLUMN[:LABEL], region:X0,Y0,X1,Y1[:LABEL], "
            "region:MASK.png[:LABEL], region:all[:LABEL]; of a detector box:NUMBER[:LABEL], box:LABEL, box:X,Y.",
        ),
    ] = None,
    against: Annotated[
        str | None, typer.Option("--against", help="What to set it against: another label, text:WORDS, feature:NUMBER, similar-to:PHOTO.")
    ] = None,
    fuse: Annotated[str | None, typer.Option("--fuse", help="Rollout: heads fused by mean (default), max or min.")] = None,
    residual: Annotated[
        float | None, typer.Option("--residual", help="Rollout: share of the residual stream, 0 to 1 (default 0.5).")
    ] = None,
    discard: Annotated[
        float | None, typer.Option("--discard", help="Rollout: share of each row's lowest patch weights left out (default 0).")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option("--memory", help="Refuse a pass that would have more in use than this (weights not counted): 2GB.", metavar="AMOUNT"),
    ] = None,
    offload: Annotated[
        str, typer.Option("--offload", help="Where activations wait for the backward pass: cpu or disk.", metavar="cpu|disk")
    ] = "",
    check: Annotated[bool, typer.Option("--check", help="Add figures that say how far to trust each map.")] = False,
    audit: Annotated[bool, typer.Option("--audit", help="Add what the model was fed: every step, the patches, findings.")] = False,
    state: Annotated[
        str,
        typer.Option(
            "--state", help="Redraw what the interactive view shows: its state as JSON or a file; FILE.png, FILE.svg.", metavar="JSON|FILE"
        ),
    ] = "",
    misread: Annotated[
        str | None, typer.Option("--misread", help="A wrong label: one page on what speaks for it against --truth.", metavar="LABEL")
    ] = None,
    truth: Annotated[str | None, typer.Option("--truth", help="The right label, with --misread.", metavar="LABEL")] = None,
    out: Out = None,
    seed: Seed = 0,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    device_map: DeviceMap = None,
    quantize: Quantize = None,
    threads: Threads = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Where the model looked and what spoke for its answer, drawn on the photo."""
    from vitscope.api.explanation import Options
    from vitscope.api.job import Job, run

    options = Options(layer, head, query, target, against, fuse, residual, discard, check, seed, audit)
    given = _given(weights, labels, input_size, device, dtype, seed)
    given |= _placed(device, device_map, quantize)
    given |= {"memory": memory, "offload": offload}
    if misread is not None or truth is not None:
        from vitscope.api.misread_job import MisreadJob
        from vitscope.api.misread_job import run as run_misread

        chosen = {"--method": method, "--target": target, "--against": against, **{f"--{name}": v for name, v in options.chosen.items()}}
        unused = tuple(
            name
            for name, value in {**chosen, "--check": check or None, "--audit": audit or None, "--state": state or None}.items()
            if value is not None
        )
        run_misread(MisreadJob(tuple(photos), model, given, misread, truth, unused, out, seed, threads, quiet))
        return
    run(Job(tuple(photos), model, given, tuple(method or ()), options, out, threads, quiet, state))


@app.command()
def demo(
    out: Out = None,
    seed: Seed = 0,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    threads: Threads = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """The main job on the built-in model and the cat photo inside scikit-image; prints where the report is."""
    from vitscope.api.job import demo as run_demo

    given = {"device": device, "dtype": dtype, "seed": seed}
    run_demo(out or Path("vitscope-demo.html"), given, threads=threads, quiet=quiet)


@app.command()
def inspect(
    ref: Annotated[
        str, typer.Argument(help="builtin:, hf:, timm:, torchvision:, open_clip: and a name, or a local folder.", metavar="REF")
    ],
    weights: Weights = None,
    labels: Labels = None,
    input_size: InputSize = None,
    as_json: Annotated[bool, typer.Option("--json", help="Plain JSON on standard output.")] = False,
    prove: Annotated[bool, typer.Option("--prove", help="Also try the rules every model keeps; exit 1 where one fails.")] = False,
    out: Out = None,
    seed: Seed = 0,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    device_map: DeviceMap = None,
    quantize: Quantize = None,
    threads: Threads = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """What each token is, which attention calls there are, what can be computed, and whether the capture is proven."""
    from vitscope.api.job import inspect as run_inspect

    given = _given(weights, labels, input_size, device, dtype, seed)
    given |= _placed(device, device_map, quantize)
    run_inspect(ref, given, as_json=as_json, prove=prove, out=out, threads=threads, quiet=quiet)


@app.command()
def serve(
    photos: Annotated[
        list[Path] | None,
        typer.Argument(help="Photos to start with, or files of embed (.parquet).", metavar="[PHOTO|POINTS]...", show_default=False),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="As for explain; give it several times to compare (default: the one a .parquet names, else builtin:photos).",
            metavar="REF",
        ),
    ] = None,
    weights: Weights = None,
    labels: Labels = None,
    input_size: InputSize = None,
    root: Annotated[
        list[Path] | None, typer.Option("--root", help="A folder whose photos may be opened from the page.", metavar="DIR")
    ] = None,
    photos_in: Annotated[
        Path | None,
        typer.Option("--photos", help="Where a .parquet's photos are now (default: the folder it names).", metavar="DIR|ZIP|NPZ"),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on; this machine only unless you say otherwise.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="0: any free one.", min=0, max=65535)] = 0,
    allow_host: Annotated[
        list[str] | None, typer.Option("--allow-host", help="A further name people reach this server by (a proxy's).", metavar="NAME")
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    cache_mb: Annotated[int, typer.Option("--cache-mb", help="Memory for what was computed, beside models and photos.", min=1)] = 512,
    upload_mb: Annotated[int, typer.Option("--upload-mb", help="Largest photo file taken in.", min=1, max=4000)] = 64,
    pixels: Annotated[int, typer.Option("--pixels", help="Largest photo taken in, in pixels.", min=1)] = 64_000_000,
    seed: Seed = 0,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    device_map: DeviceMap = None,
    quantize: Quantize = None,
    threads: Threads = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """The interactive page on this machine: point at any patch and see every head answer."""
    from vitscope.api.serve import Serving, run

    given = _given(weights, labels, input_size, device, dtype, seed)
    given |= _placed(device, device_map, quantize)
    settings = {
        "host": host,
        "port": port,
        "allow": tuple(allow_host or ()),
        "roots": tuple(root or ()),
        "upload_bytes": upload_mb * 1_000_000,
        "pixels": pixels,
        "cache_bytes": cache_mb * 1_000_000,
        "open_browser": open_browser,
        "quiet": quiet,
    }
    clouds = tuple(path for path in photos or () if path.suffix.lower() == ".parquet")
    shown = tuple(path for path in photos or () if path not in clouds)
    run(Serving(shown, tuple(model or ()), given, settings, threads, clouds, photos_in))


@app.command()
def patches(
    photo: Annotated[Path, typer.Argument(help="One photo.", metavar="IMAGE", show_default=False)],
    model: Ref = "builtin:photos",
    weights: Weights = None,
    labels: Labels = None,
    input_size: InputSize = None,
    box: Annotated[
        str | None, typer.Option("--box", help="An object: x0,y0,x1,y1 in pixels of the photo, or fractions 0 to 1.", metavar="BOX")
    ] = None,
    mask: Annotated[Path | None, typer.Option("--mask", help="An object as a picture that is black elsewhere.", metavar="FILE")] = None,
    tensor: Annotated[
        Path | None, typer.Option("--tensor", help="What your own code made of the photo: a .npy file [3, h, w].", metavar="FILE.npy")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Plain JSON on standard output.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="FILE.html, FILE.png, FILE.json, or a folder for all of them.", metavar="FILE|DIR")
    ] = None,
    seed: Seed = 0,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    threads: Threads = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """What the model was really fed: every step, the patches, what was lost, and what is wrong with it."""
    from vitscope.api.patches_job import PatchesJob, run

    given = _given(weights, labels, input_size, device, dtype, seed)
    run(PatchesJob(photo, model, given, box, mask, tensor, out, as_json, threads, quiet))


@app.command()
def embed(
    folder: Annotated[Path, typer.Argument(help="Folder, .zip, or .npz of JPEG files.", metavar="FOLDER", show_default=False)],
    model: Annotated[
        str | None,
        typer.Option("--model", help="As for explain (default: builtin:photos; with --into the one that made the file).", metavar="REF"),
    ] = None,
    weights: Weights = None,
    labels: Labels = None,
    input_size: InputSize = None,
    layer: Annotated[
        list[str] | None,
        typer.Option("--layer", help="Block to project, -1 is the last; several times for several, or all.", metavar="L"),
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option("--method", help="pca (default), tsne or umap; several times for several.", metavar="NAME")
    ] = None,
    dim: Annotated[int, typer.Option("--dim", help="2 or 3 dimensions.")] = 2,
    vectors: Annotated[str, typer.Option("--vectors", help="pooled (what the head reads), cls, patch-mean or tokens.")] = "pooled",
    keep: Annotated[str, typer.Option("--vectors-dtype", help="Vectors are kept as float32 or float16.")] = "float32",
    limit: Annotated[int | None, typer.Option("--limit", help="Only so many photos, evenly spread over the folder.", min=1)] = None,
    labels_file: Annotated[
        Path | None, typer.Option("--labels-file", help="Table of labels: CSV, TSV, JSON lines or Parquet.", metavar="FILE")
    ] = None,
    state: Annotated[str, typer.Option("--state", help="What the page shows first: a state as JSON or a file.", metavar="JSON|FILE")] = "",
    into: Annotated[
        Path | None, typer.Option("--into", help="Place these photos into the maps of a .parquet of embed.", metavar="FILE")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="FILE.parquet; a picture, a page and the vectors are put beside it.")] = None,
    seed: Seed = 0,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    device_map: DeviceMap = None,
    quantize: Quantize = None,
    threads: Threads = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """What each layer made of a folder of photos: points in a plane or in space, and how far to trust them."""
    from vitscope.api.embed import Job, run

    given = _given(weights, labels, input_size, device, dtype, seed)
    given |= _placed(device, device_map, quantize)
    if into is not None:
        from vitscope.api.placing import Placing
        from vitscope.api.placing import run as run_placing

        fixed = {"--layer": layer, "--method": method, "--dim": dim != 2, "--vectors": vectors != "pooled"}
        chosen = [name for name, value in {**fixed, "--vectors-dtype": keep != "float32"}.items() if value]
        if chosen:
            raise ArgumentError(f"{' and '.join(chosen)} with --into", expected="neither: the file says it")
        run_placing(Placing(folder, into, model, given, limit, labels_file, out, threads, quiet, state))
        return
    methods = tuple(method or ("pca",))
    run(
        Job(
            folder,
            model or "builtin:photos",
            given,
            tuple(layer or ()),
            methods,
            dim,
            vectors,
            keep,
            limit,
            labels_file,
            out,
            threads,
            quiet,
            state,
        )
    )


@app.command()
def nearest(
    points: Annotated[Path, typer.Argument(help="A .parquet of embed, its vectors beside it.", metavar="POINTS", show_default=False)],
    photo: Annotated[str, typer.Argument(help="An id or a path in it, or any other photo.", metavar="PHOTO", show_default=False)],
    k: Annotated[int, typer.Option("--k", help="So many.", min=1)] = 10,
    layer: Annotated[int | None, typer.Option("--layer", help="Block; -1 is the last that is kept (default: the last map's).")] = None,
    patch: Annotated[
        str | None, typer.Option("--patch", help="A patch of the photo, where vectors are those of tokens.", metavar="ROW,COLUMN")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Plain JSON on standard output.")] = False,
    model: OwnRef = None,
    weights: Weights = None,
    labels: Labels = None,
    input_size: InputSize = None,
    seed: Seed = 0,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    threads: Threads = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """The photos, or patches, nearest to one in the model's own space."""
    from vitscope.api.nearest_job import Asked, NearestJob, run

    given = _given(weights, labels, input_size, device, dtype, seed)
    run(NearestJob(points, Asked(photo, k, layer, patch), model, given, as_json, threads, quiet))


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False) -> None:
    """See a vision transformer's way from data to decision."""
    if show:
        import vitscope

        typer.echo(vitscope.__version__)
        raise typer.Exit


def _given(weights: Path | None, labels: Path | None, input_size: str | None, device: str, dtype: str, seed: int) -> dict[str, Any]:
    """What :func:`vitscope.load` takes besides the reference, of the options that most commands have."""
    return {"weights": weights, "labels": labels, "input_size": _size(input_size), "device": device, "dtype": dtype, "seed": seed}


def _placed(device: str, device_map: str | None, quantize: str | None) -> dict[str, str | None]:
    """Where a model's parts go, instead of one device."""
    asked = {"device_map": device_map, "quantize": quantize}
    if device_map is None and quantize is None:
        return {}
    if device != "cpu":
        raise ArgumentError("--device beside --device-map or --quantize", expected="one of them")
    return {"device": None, **{name: value for name, value in asked.items() if value is not None}}


def _size(text: str | None) -> tuple[int, int] | None:
    """Read "448" or "448x672" as (height, width)."""
    if text is None:
        return None
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) > 2 or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise ArgumentError(f"--input-size {text!r}", expected="448 or 448x672 (height x width)")
    return int(parts[0]), int(parts[-1])


def main(arguments: list[str] | None = None) -> None:
    """Run the program; an error is one line on stderr and an exit code: 1 the work failed, 2 wrong arguments or input."""
    words = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in words
    try:
        _run(words or ["--help"])
    except typer.Exit as done:
        sys.exit(done.exit_code)
    except BrokenPipeError:  # whoever read the output has enough of it
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the process ends
        sys.exit(1)
    except VitscopeError as error:
        if debug:
            raise
        _fail(_as_typed(error, words), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        _fail("stopped; nothing half-written was left", 130)
    except MemoryError:
        _fail("out of memory; give fewer photos at once or a smaller --input-size", 1)
    except Exception as error:  # the last place before the user: a traceback helps nobody who did not ask for one
        wrong_usage = getattr(error, "format_message", None)  # how errors of the command line itself say it
        if wrong_usage:
            _fail(f"{wrong_usage().rstrip('.')} (vitscope --help says what there is)", 2)
        if debug:
            raise
        _fail(f"{type(error).__name__}: {error} (a fault of vitscope; run again with --debug and report it)", 1)


def _run(words: list[str]) -> None:
    """Parse and do; its own main would write errors in several lines."""
    command = typer.main.get_command(app)
    with command.make_context("vitscope", list(words)) as context:
        command.invoke(context)


def _as_typed(error: VitscopeError, words: list[str]) -> str:
    """The error's line, its place called as the option that was typed, where it is one."""
    typed = {word.partition("=")[0]: word.partition("=")[2] or following for word, following in pairwise([*words, ""])}
    against = typed.get("--against")
    where = "against" if error.where == "target" and against and repr(against) in error.got else error.where
    option = f"--{where.replace('_', '-')}"
    if option not in typed:
        return str(error)
    return str(error).replace(f"{error.where}: {where} ", f"{option} ", 1).replace(f"{error.where}: ", f"{option}: ", 1)


def _fail(message: str, code: int) -> None:
    sys.stderr.write("vitscope: " + " ".join(message.split()) + "\n")
    sys.exit(code)
