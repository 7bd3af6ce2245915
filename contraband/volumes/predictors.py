"""What predicts for a volume: a network, a quick head, or rules without labels; the stage does not know which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from blockwise.errors import BadInput
from contraband.models.averaging.base import Averageable, Predicting
from contraband.models.averaging.turns import Orientations
from contraband.models.engines.quantised import InputRanges
from contraband.models.facts import KnownNetworks, NetworkFacts
from contraband.models.foreign.settings import NetworkUse
from contraband.quick.classical_settings import Classical


@dataclass(frozen=True)
class PredictorChoice:
    """What is to be predicted, and how."""

    kind: str
    """affinities or embeddings."""
    device: str = "auto"
    precision: str = "float32"
    levels: int = 1
    """Decoder levels that embeddings consist of."""
    network: NetworkUse | None = None
    """How the network of a file is used; None for a checkpoint and a head."""
    engine: str = "torch"
    """What computes a checkpoint: torch or openvino."""
    classical: Classical | None = None
    """Rules, instead of a file."""
    augment: Orientations = "none"
    """Orientations of which the mean is taken: none, flips or rotations."""
    further: tuple[Path, ...] = ()
    """Further checkpoints, of which the mean is taken with the first."""
    disagreement: bool = False
    """Whether it is told how far checkpoints are apart."""
    compile: bool = False
    """Whether torch compiles a checkpoint's network."""
    networks: Path | None = None
    """Folder in which networks are kept that OpenVINO has converted."""
    ranges: InputRanges = ()
    """Of what convolutions take, if they are computed in integers."""


def load_predicting(
    path: Path | None, is_head: bool, choice: PredictorChoice, known: KnownNetworks | None = None
) -> Predicting:
    """The network or the quick head of a file, or the rules, ready to predict; raises BadInput if it holds none.

    known: networks are then asked for facts only, and those that are known are not even loaded.
    """
    if choice.classical is not None:
        from contraband.quick.classical import ClassicalPredictor

        return ClassicalPredictor(choice.classical)
    assert path is not None
    if is_head:
        from contraband.quick.predictor import load_quick_predictor

        return load_quick_predictor(path, choice.kind)
    from contraband.models.averaging.augmented import oriented

    def network(one: Path) -> Any:
        if known is None:
            return _load_network(one, choice)
        return network_facts(one, choice, known, lambda: _load_network(one, choice))

    networks = [oriented(network(one), choice.augment) for one in (path, *choice.further)]
    if len(networks) == 1:
        return networks[0]
    from contraband.models.averaging.ensemble import Ensemble

    return Ensemble(networks, choice.disagreement)


def network_facts(
    path: Path, choice: PredictorChoice, known: KnownNetworks, load: Callable[[], Averageable]
) -> NetworkFacts:
    """Facts of one network, asked about a tile as it is; it is loaded by `load` if they are not known."""
    how = (choice.kind, choice.levels, choice.network and choice.network.model_dump_json())
    return known.facts(path, how, load)


def _load_network(path: Path, choice: PredictorChoice) -> Any:
    """One network, asked about a tile as it is."""
    if choice.network is not None:
        from contraband.models.foreign.predictor import load_foreign_predictor

        return load_foreign_predictor(path, choice.network, choice.device)
    from contraband.models.predictor import load_predictor

    precision = "float32" if choice.precision == "int8" else choice.precision
    predictor = load_predictor(path, choice.kind, choice.device, precision, choice.levels, choice.engine)
    if choice.engine == "openvino" and choice.networks is not None:
        predictor.compute_in_openvino(choice.networks, choice.precision, choice.ranges)
    if choice.compile:
        predictor.compile()
    return predictor


@lru_cache(maxsize=2)
def cached_predictor(path: Path | None, is_head: bool, weights: str, choice: PredictorChoice) -> Predicting:
    """The same, once a worker; refuses a file that changed since the run was planned."""
    predictor = load_predicting(path, is_head, choice)
    if predictor.fingerprint != weights:
        what = "head" if is_head else "network" if choice.network else "checkpoint"
        raise BadInput(
            path,
            f"the {what} changed while the run was going on",
            got=predictor.fingerprint[:12],
            wanted=weights[:12],
            todo="start the run again",
        )
    return predictor
