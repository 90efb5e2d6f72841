"""The plan: the standard order, a project's own steps woven in, and the refusals."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import ProjectError
from penstock.pipeline.inputs import inputs_of
from penstock.pipeline.plan import STANDARD_PLAN, Plan, Step, plan_of, weave
from penstock.pipeline.source import CustomStep
from penstock.project import Project
from penstock.records import kind_named

STANDARD = [step.name for step in STANDARD_PLAN]


def custom(
    name: str, after: str = "", before: str = "", takes: tuple[str, ...] = (), gives: str = ""
) -> CustomStep:
    return CustomStep(name, 1, after, before, takes, gives)


def names(plan: Plan) -> list[str]:
    return [step.name for step in plan.steps]


def woven(*own: CustomStep) -> Plan:
    return weave(STANDARD_PLAN, own)


def test_the_standard_plan_in_its_order(make_project: Callable[..., Project]) -> None:
    assert names(plan_of(make_project())) == [
        "extract_data",
        "validate_data",
        "feature_engineering",
        "train_model",
        "evaluate_model",
        "register_model",
        "deploy_to_staging",
        "run_integration_tests",
        "notify_team",
    ]


def test_every_standard_step_finds_the_records_it_takes() -> None:
    plan = woven()
    assert plan.sources(plan.step("run_integration_tests")) == {
        "FeatureSet": "feature_engineering",
        "TrainedModel": "train_model",
        "Release": "deploy_to_staging",
    }
    for step in plan.steps:
        assert issubclass(kind_named(step.gives), object)
        assert set(plan.sources(step)) == set(step.takes)


def test_a_step_between_two_others() -> None:
    plan = woven(custom("profile", after="validate_data", before="feature_engineering"))
    assert names(plan) == [*STANDARD[:2], "profile", *STANDARD[2:]]
    assert plan.step("feature_engineering").after == ("validate_data", "profile")


def test_a_step_that_nothing_waits_for() -> None:
    plan = woven(custom("profile", after="validate_data"))
    assert plan.step("profile").after == ("validate_data",)
    assert [s.name for s in plan.steps if "profile" in s.after] == []
    assert plan.downstream("profile") == set()
    assert "profile" in plan.downstream("extract_data")


def test_steps_side_by_side_wait_for_the_same_and_not_for_each_other() -> None:
    plan = woven(
        custom("left", after="validate_data", before="train_model"),
        custom("right", after="validate_data", before="train_model"),
    )
    assert plan.step("left").after == plan.step("right").after == ("validate_data",)
    assert set(plan.step("train_model").after) == {"feature_engineering", "left", "right"}


def test_a_step_after_a_step_of_the_project_s_own() -> None:
    plan = woven(custom("second", after="first"), custom("first", after="extract_data"))
    assert names(plan).index("first") < names(plan).index("second")


def test_a_custom_step_is_cached_on_its_code_and_its_parameters() -> None:
    step = woven(custom("profile", after="validate_data")).step("profile")
    assert step.custom
    assert step.code == ("pipeline.py:profile",)
    assert step.params == ("seed", "profile")


def test_the_nearest_record_upstream_is_taken() -> None:
    plan = woven(
        custom(
            "balance",
            after="feature_engineering",
            before="train_model",
            takes=("FeatureSet",),
            gives="FeatureSet",
        )
    )
    assert plan.sources(plan.step("balance")) == {"FeatureSet": "feature_engineering"}
    for later in ("train_model", "evaluate_model", "run_integration_tests"):
        assert plan.sources(plan.step(later))["FeatureSet"] == "balance"


def all_sources(own: tuple[CustomStep, ...]) -> list[dict[str, str]]:
    plan = woven(*own)
    return [plan.sources(step) for step in plan.steps]


def refusal(*own: CustomStep) -> ProjectError:
    with pytest.raises(ProjectError) as caught:
        all_sources(own)
    assert caught.value.hint
    return caught.value


def test_a_circle_is_refused_with_its_members() -> None:
    told = refusal(custom("late", after="train_model", before="validate_data")).message
    assert "circle" in told
    assert all(name in told for name in ("late", "train_model", "validate_data"))


def test_a_step_that_waits_for_itself_is_refused() -> None:
    assert "circle" in refusal(custom("odd", after="odd")).message


@pytest.mark.parametrize("place", ["after", "before"])
def test_an_unknown_neighbour_is_refused_with_those_there_are(place: str) -> None:
    error = refusal(custom("profile", **{place: "validate"}))
    assert "'profile' names 'validate', which is no step" in error.message
    assert "validate_data" in error.hint


def test_a_name_that_is_taken_is_refused() -> None:
    assert "'train_model'" in refusal(custom("train_model", after="validate_data")).message
    twice = refusal(custom("a", after="extract_data"), custom("a", after="extract_data"))
    assert "'a' exists already" in twice.message


def test_a_record_that_nobody_made_yet_is_refused_with_those_made() -> None:
    error = refusal(custom("early", after="validate_data", takes=("TrainedModel",)))
    assert "step early takes a TrainedModel, and nothing before it makes one" in error.message
    assert "DataReport, DatasetVersion" in error.hint


def test_a_record_that_is_none_is_refused_before_anything_runs(
    make_project: Callable[..., Project],
) -> None:
    code = "@step(after='validate_data')\ndef odd(context) -> DataFrame: ...\n"
    with pytest.raises(ProjectError, match="gives a DataFrame, which is no record"):
        plan_of(make_project(**{"pipeline.py": code}))


def test_an_unknown_step_is_refused_with_those_there_are() -> None:
    with pytest.raises(ProjectError, match="no step is called 'train'") as caught:
        woven().step("train")
    assert "train_model" in caught.value.hint


def test_the_plan_fits_the_project(make_project: Callable[..., Project]) -> None:
    plain = plan_of(make_project(**{"penstock.toml": '[project]\nname="s"\n[data]\nsources="a b"'}))
    assert plain.step("extract_data").files == ("a", "b")
    assert plain.step("feature_engineering").warm == ()
    assert plan_of(make_project(**{"features.py": ""})).step("feature_engineering").warm


OWN = [f"own_{number}" for number in range(6)]


@st.composite
def custom_sets(draw: st.DrawFn) -> list[CustomStep]:
    """Steps anywhere before and after any others; some sets have circles."""
    chosen = draw(st.lists(st.sampled_from(OWN), unique=True))
    place = st.sampled_from([*STANDARD, *chosen, ""])
    drawn = [custom(name, draw(place), draw(place)) for name in chosen]
    return [step for step in drawn if step.after or step.before]


def neighbours(steps: list[CustomStep]) -> list[tuple[str, str]]:
    pairs = [(step.after, step.name) for step in steps if step.after]
    return pairs + [(step.name, step.before) for step in steps if step.before]


@given(custom_sets())
@settings(max_examples=200)
def test_each_step_stands_behind_all_it_needs_or_the_circle_is_named(
    own: list[CustomStep],
) -> None:
    try:
        plan = woven(*own)
    except ProjectError as error:
        told = error.message
    else:
        assert_in_order(plan, own)
        return
    assert has_circle([*neighbours(own), *pairwise(STANDARD)]) or "which is no step" in told


def has_circle(pairs: list[tuple[str, str]]) -> bool:
    """Whether some steps are left when those that nothing waits for are taken away repeatedly."""
    while pairs:
        waiting = {earlier for earlier, _ in pairs}
        left = [(earlier, later) for earlier, later in pairs if later in waiting]
        if left == pairs:
            return True
        pairs = left
    return False


def assert_in_order(plan: Plan, own: list[CustomStep]) -> None:
    place = {name: position for position, name in enumerate(names(plan))}
    assert set(place) == {*STANDARD, *(step.name for step in own)}
    for earlier, later in [*neighbours(own), *pairwise(STANDARD)]:
        assert place[earlier] < place[later]
    for step in plan.steps:
        assert all(place[name] < place[step.name] for name in step.after)
        assert {up.name for up in plan.upstream(step)} == _ancestors(plan, step)


def _ancestors(plan: Plan, step: Step) -> set[str]:
    found = set(step.after)
    for name in step.after:
        found |= _ancestors(plan, plan.step(name))
    return found


MAPPED = """
@step(after="validate_data", before="train_model", map="regions")
def profile(context, dataset: DatasetVersion): ...

@step(after="profile")
def compare(context): ...
"""


def mapped(make_project: Callable[..., Project], regions: str) -> Plan:
    params = f"seed: 7\nprofile:\n  regions: {regions}\n  depth: 3\n"
    return plan_of(make_project(**{"pipeline.py": MAPPED, "params.yaml": params}))


def test_a_mapped_step_is_one_step_an_item(make_project: Callable[..., Project]) -> None:
    plan = mapped(make_project, "[north, 7]")
    north, seven = plan.step("profile.north"), plan.step("profile.7")
    assert (north.item, seven.item) == ("north", 7)
    assert north.family == seven.family == "profile"
    assert north.code == ("pipeline.py:profile",)
    assert north.after == seven.after == ("validate_data",)
    assert plan.step("compare").after == ("profile.north", "profile.7")
    assert {"profile.north", "profile.7"} < set(plan.step("train_model").after)


def test_of_its_list_an_item_s_step_rests_on_its_item_alone(
    make_project: Callable[..., Project],
) -> None:
    project = make_project(
        **{"pipeline.py": MAPPED, "params.yaml": "profile: {regions: [a, b], depth: 3}\n"}
    )
    step = plan_of(project).step("profile.a")
    inputs = inputs_of(step, project, {})
    assert inputs["item"] == '"a"'
    assert inputs["param profile.depth"] == "3"
    assert "param profile.regions" not in inputs


@pytest.mark.parametrize(
    ("regions", "said"),
    [
        ("[]", "needs a list of items"),
        ("north", "needs a list of items"),
        ("[north, north]", "names north twice"),
        ("[1, '1']", "names 1 twice"),
        ("[a.b]", "'a.b', which cannot be part of a step's name"),
        ("[true]", "True, which cannot"),
        ("[1.5]", "1.5, which cannot"),
        (f"[{'x' * 57}]", "xx', which cannot"),
    ],
)
def test_a_list_that_cannot_be_mapped_is_refused(
    make_project: Callable[..., Project], regions: str, said: str
) -> None:
    with pytest.raises(ProjectError) as caught:
        mapped(make_project, regions)
    assert said in caught.value.message
    assert "profile.regions" in caught.value.message


def test_a_run_until_a_step_takes_what_stands_before_it(
    make_project: Callable[..., Project],
) -> None:
    plan = mapped(make_project, "[north, 7]")
    assert [step.name for step in plan.until("profile.7")] == [*STANDARD[:2], "profile.7"]
    assert plan.until(None) == plan.until("") == plan.steps
