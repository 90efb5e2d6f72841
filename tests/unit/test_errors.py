"""The tree of errors: what crosses processes, what is retried, which exit status it has."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import errors
from penstock.errors import KINDS, PenstockError, ResourceError, from_dict
from penstock.notifications.delivery import DeliveryError

TRANSIENT = {"StepInterrupted", "ResourceError"}
WRONG_USE = {"UsageError", "SettingsError", "ProjectError"}


def test_every_kind_of_the_module_is_in_the_table_and_in_the_drawing() -> None:
    defined = {
        name: kind
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, PenstockError)
    }
    assert defined == KINDS
    for name in KINDS:
        assert name in (errors.__doc__ or "")


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_knows_its_exit_status_and_whether_to_try_again(name: str) -> None:
    assert KINDS[name].exit_status == (2 if name in WRONG_USE else 1)
    assert KINDS[name].transient == (name in TRANSIENT)


@given(st.sampled_from(sorted(KINDS)), st.text(), st.text())
def test_an_error_is_the_same_after_a_journey(name: str, message: str, hint: str) -> None:
    error = KINDS[name](message, hint=hint)
    for back in (from_dict(error.as_dict()), pickle.loads(pickle.dumps(error))):
        assert type(back) is KINDS[name]
        assert (back.message, back.hint) == (message, hint)


def test_a_package_s_own_kind_comes_back_as_its_parent_and_is_still_retried() -> None:
    back = from_dict(DeliveryError("mail is down").as_dict())
    assert type(back) is ResourceError
    assert back.transient


def test_what_is_stored_by_another_version_is_still_an_error() -> None:
    assert from_dict({"error": "NewKind", "message": "m"}).message == "m"
    assert from_dict({}).message == ""
