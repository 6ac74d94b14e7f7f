"""The companion for the cluster before its lock: what it lacks is said with a remedy."""

import builtins
from typing import Any

import pytest

from mailbell.core.errors import ConfigurationError, MailbellError, OperatingSystemError
from mailbell.sender import cluster_node


@pytest.mark.parametrize(
    ("refusal", "error", "said", "remedy"),
    [
        (
            ModuleNotFoundError("No module named 'coredis'", name="coredis"),
            ConfigurationError,
            "store.url: the engine of a cluster needs coredis",
            "install mailbell with the extra: pip install 'mailbell[cluster]'",
        ),
        (
            ImportError("failed to map a segment", name="_hashlib"),
            OperatingSystemError,
            "what speaks to the engine of a cluster cannot be loaded: failed to map a segment",
            "see what the system lacks",
        ),
    ],
)
def test_what_cannot_be_loaded_is_named(
    refusal: ImportError,
    error: type[MailbellError],
    said: str,
    remedy: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any) -> None:
        raise refusal

    with monkeypatch.context() as patch:
        patch.setattr(cluster_node, "permit_again", lambda: None)
        patch.setattr(builtins, "__import__", refuse)
        with pytest.raises(error) as caught:
            cluster_node._load(None)  # type: ignore[arg-type]  # it is not looked at
    problems = getattr(caught.value, "problems", ())
    assert str(problems[0] if problems else caught.value) == f"{said}; {remedy}"
