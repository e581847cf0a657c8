"""The base of configurations: its digest, its canonical form, its streams. Digests in use are pinned in test_pins."""

import hashlib
import json
from dataclasses import FrozenInstanceError, dataclass

import pytest

from alcl.experiments.configs import Config, canonical_options, environment, stream_seed


@dataclass(frozen=True)
class Plain(Config):
    size: int = 3
    options: tuple = ()

    def __post_init__(self):
        self._set("options", canonical_options(self.options))


@dataclass(frozen=True)
class Named(Config):
    study, protocol, kind = "colours", 2, "red"
    size: int | None = None
    share: float = 0.5

    def __post_init__(self):
        self._fill({"size": 7, "share": 0.1})


def test_the_digest_is_the_hash_of_its_parts():
    for config, text in (
        (Plain(4), '{"options":{},"protocol":1,"size":4}'),
        (Plain(options={"b": (1, 2), "a": 1.5}), '{"options":{"a":1.5,"b":[1,2]},"protocol":1,"size":3}'),
        (Named(), '{"kind":"red","protocol":2,"share":0.5,"size":7,"study":"colours"}'),
    ):
        assert config.digest == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_a_configuration_survives_json():
    for config in (Plain(options={"b": (1, 2), "a": 1.5}), Named(share=0.25)):
        assert type(config).from_config(json.loads(json.dumps(config.config()))) == config
    assert Named().config() == {"kind": "red", "size": 7, "share": 0.5}
    with pytest.raises(ValueError, match="config has fields that Plain does not: kind, share"):
        Plain.from_config(Named().config())
    with pytest.raises(FrozenInstanceError):
        Plain().size = 4


def test_options_have_one_form():
    form = (("a", 1.5), ("b", (1, 2)))
    assert canonical_options({"b": [1, 2], "a": 1.5}) == form
    assert canonical_options(form) == form
    assert canonical_options([("b", (1, 2)), ("a", 1.5)]) == form


def test_streams_differ_by_name_seed_and_study():
    names = ("noise", "weights")
    seeds = {
        stream_seed(names, name, seed, *study) for name in names for seed in range(20) for study in ((), (8,), (9,))
    }
    assert len(seeds) == 2 * 20 * 3
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert stream_seed((*names, "new"), "weights", 3) == stream_seed(names, "weights", 3)


def test_the_environment_can_be_stored():
    found = environment()
    assert set(found) == {"device", "machine", "threads", "torch", "python", "commit"}
    json.dumps(found, allow_nan=False)
