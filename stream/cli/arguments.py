"""Arguments that several commands share: their types with help texts, and the checks of what was typed."""

from pathlib import Path
from typing import Annotated, Any

import typer

from stream.errors import ConfigError
from stream.files.strict_yaml import parse

_WEIGHTS_HELP = "Name of packaged weights (`poselift models` lists them) or a .safetensors file."

ConfigArgument = Annotated[
    str, typer.Argument(help="A YAML file, or the name of a packaged config such as webcam.")
]
WeightsArgument = Annotated[str, typer.Argument(help=_WEIGHTS_HELP)]
WeightsOption = Annotated[str, typer.Option(help=_WEIGHTS_HELP)]
DeviceOption = Annotated[str, typer.Option(help="Where the lifter runs: auto, cpu, cuda, cuda:1.")]
SecretKeyOption = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", help="Secret CURVE key of this program (.key_secret)."),
]
NodeKeyOption = Annotated[
    Path | None, typer.Option("--node-key", metavar="FILE", help="Public CURVE key of the node (.key).")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of a table.")]
Keep = Annotated[str | None, typer.Option(help="Frames that each pruning stage keeps, e.g. 121,81.")]
At = Annotated[
    str | None, typer.Option(help="Index of the transformer block before which each stage prunes, e.g. 0,3.")
]
Pruner = Annotated[str, typer.Option(help="Pruning method: tps, tpc, tpa or tpmo.")]
Recoverer = Annotated[str, typer.Option(help="Recovery method: tri, tri-tokens, tra, centre or none.")]


def output_option(meaning: str) -> Any:
    """The option -o/--output of a command; meaning: the help text, which names the formats."""
    return typer.Option("-o", "--output", help=meaning)


def parse_schedule(keep: str | None, at: str | None, pruner: str = "tps", recoverer: str = "tri") -> Any:
    """The `lifter.spec.Schedule` of --keep, --at, --pruner and --recoverer; None without --keep and --at."""
    from lifter.spec import Schedule

    if (keep is None) != (at is None):
        raise ConfigError("--keep and --at go together, e.g. --keep 121,81 --at 0,3")
    if keep is None or at is None:
        return None
    return Schedule(parse_integers("--keep", keep), parse_integers("--at", at), pruner, recoverer)


def require_choice(argument: str, word: str, choices: tuple[str, ...]) -> None:
    """Raise ConfigError unless `word`, typed for `argument`, is one of `choices`."""
    if word not in choices:
        raise ConfigError(f"{argument}: expected one of {', '.join(choices)}, got {word!r}")


def parse_integers(argument: str, text: str) -> tuple[int, ...]:
    """Whole numbers separated by commas; ConfigError for any other text."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"{argument}: expected whole numbers such as 121,81, got {text!r}") from None


def parse_settings(pairs: list[str]) -> dict[str, Any]:
    """Values of `--set KEY=VALUE` by key, read as YAML; ConfigError for a pair without `=`."""
    values = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set {pair}: expected key=value")
        values[key] = parse(text, f"--set {pair}")
    return values
