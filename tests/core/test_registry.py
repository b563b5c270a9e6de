"""Registries: what a catalogue and installed packages add, and what is refused."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from skipstone.core import registry as module
from skipstone.core.errors import UsageError
from skipstone.core.registry import BACKBONES, HEADS, Registry
from skipstone.core.specs import BackboneSpec, HeadSpec, ReaderSpec, Spec

MYNET = BackboneSpec("mynet", "m:build", accepts=("image",), input_size=32)
MYHEAD = HeadSpec("myhead", "m:Head")
NAMELESS = "not a spec"
RESNET = BackboneSpec("resnet18", "m:build")


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of this module that the installed packages add as models."""
    names: list[str] = []

    def find(group: str) -> EntryPoints:
        return EntryPoints(EntryPoint(name, f"{__name__}:{name}", group) for name in names)

    monkeypatch.setattr(module, "find_entry_points", find)
    return names


def models() -> Registry[BackboneSpec]:
    return Registry(
        BackboneSpec, "model", catalog="skipstone.models.catalog", group="skipstone.backbones"
    )


def test_an_installed_package_adds_a_model(install: list[str]) -> None:
    install.append("MYNET")
    found = models()["mynet"]
    assert (found.accepts, found.input_size) == (("image",), 32)


@pytest.mark.parametrize(("name", "kind"), [("MYHEAD", "HeadSpec"), ("NAMELESS", "str")])
def test_a_spec_of_another_class_is_refused(install: list[str], name: str, kind: str) -> None:
    install.append(name)
    with pytest.raises(UsageError, match=f"adds the model '{name}' with a {kind}, not a Backbone"):
        models().entry_names()


def test_a_name_that_exists_is_refused(install: list[str]) -> None:
    install.append("RESNET")
    with pytest.raises(UsageError, match="a model named 'resnet18', which already exists"):
        models().entry_names()


def test_registering_needs_the_class_of_the_registry() -> None:
    with pytest.raises(
        UsageError, match="a head is registered with a HeadSpec, not a BackboneSpec"
    ):
        HEADS.register(MYNET)  # type: ignore[arg-type]
    assert "mynet" not in HEADS


def test_a_family_answers_for_its_members() -> None:
    assert BACKBONES["timm/test_vit"].name == "timm/*"
    assert BACKBONES["logistic"].is_closed_form
    assert not BACKBONES["resnet18"].is_closed_form


def test_fields_after_the_source_are_given_by_name() -> None:
    with pytest.raises(TypeError):
        ReaderSpec("a", "m:A", None, "", "", None, ("images",))  # type: ignore[misc]
    assert Spec("a", "m:A").distribution is None
