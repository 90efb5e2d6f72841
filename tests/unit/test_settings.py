"""Settings: which layer wins, what is refused, and that every mistake is named with its place."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from penstock.errors import SettingsError
from penstock.setting_types import Rule, parse_duration, parse_rule, split_words
from penstock.settings import Settings
from penstock.settings_source import line_of, load_settings

PROJECT = '[project]\nname = "shop"\n'
SECRET = "hunter2"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "penstock.toml"


def load(
    file: Path, text: str, variables: Mapping[str, str] | None = None, environment: str = "dev"
) -> Settings:
    file.write_text(text, encoding="utf-8")
    return load_settings(file, environment, variables or {})


def refusal(
    file: Path, text: str, variables: Mapping[str, str] | None = None, environment: str = "dev"
) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load(file, text, variables, environment)
    assert caught.value.exit_status == 2
    return caught.value


def test_a_name_is_enough(file: Path) -> None:
    settings = load(file, PROJECT)
    assert settings.model_name == "shop"
    assert settings.pipeline.retries == 3
    assert settings.pipeline.retry_delay == timedelta(minutes=5)
    assert settings.training.holdout == 0.2
    assert settings.gates.model == {}
    assert {name: str(rule) for name, rule in settings.gates.integration.items()} == {
        "latency_p95_ms": "< 50",
        "throughput_qps": "> 100",
        "error_rate": "< 0.005",
    }
    assert settings.state.url.get_secret_value() == ""


def test_the_model_may_have_a_name_of_its_own(file: Path) -> None:
    assert load(file, PROJECT + '[registry]\nmodel = "churn"\n').model_name == "churn"


LAYERS = PROJECT + "[pipeline]\nretries = 4\n[environments.staging.pipeline]\nretries = 5\n"


@pytest.mark.parametrize(
    ("text", "variables", "environment", "retries"),
    [
        (PROJECT, {}, "staging", 3),  # the default
        (LAYERS, {}, "dev", 4),  # the file over the default; not the other environment's
        (LAYERS, {}, "staging", 5),  # the environment over the file
        (LAYERS, {"PENSTOCK_PIPELINE_RETRIES": "6"}, "staging", 6),  # the variable over all
        (PROJECT, {"PENSTOCK_PIPELINE_RETRIES": "6"}, "production", 6),
    ],
)
def test_the_later_layer_wins(
    file: Path, text: str, variables: dict[str, str], environment: str, retries: int
) -> None:
    assert load(file, text, variables, environment).pipeline.retries == retries


def test_an_environment_changes_one_key_and_leaves_its_neighbours(file: Path) -> None:
    text = (
        PROJECT
        + '[gates.model]\nauc_roc = ">= 0.7"\nf1 = ">= 0.2"\n'
        + '[environments.production.gates.model]\nauc_roc = ">= 0.9"\n'
    )
    gates = load(file, text, environment="production").gates.model
    assert {name: str(rule) for name, rule in gates.items()} == {
        "auc_roc": ">= 0.9",
        "f1": ">= 0.2",
    }


def test_variables_are_read_by_the_type_of_their_setting(file: Path) -> None:
    settings = load(
        file,
        PROJECT,
        {
            "PENSTOCK_PROJECT_OWNER": "42",  # text stays text
            "PENSTOCK_PIPELINE_CATCHUP": "true",
            "PENSTOCK_PIPELINE_TIMEOUT": "90s",
            "PENSTOCK_PIPELINE_TIMEOUTS_TRAIN_MODEL": "3h",
            "PENSTOCK_GATES_MODEL_AUC_ROC": ">= 0.8",
            "PENSTOCK_APPROVALS_EU_PRODUCTION_BREAK_GLASS": "2h",
            "PENSTOCK_APPROVALS_EU_PRODUCTION_ROLES": "admin",
            "PENSTOCK_DATA_KEY": "customer_id, day",
            "PENSTOCK_DATA_SOURCES": '["a file.csv"]',
            "PENSTOCK_TRAINING_HOLDOUT_FROM": "2026-01-01T00:00:00+01:00",
            "PENSTOCK_NOTIFY_URLS": "json://one json://two",
        },
    )
    assert settings.project.owner == "42"
    assert settings.pipeline.catchup is True
    assert settings.pipeline.timeout == timedelta(seconds=90)
    assert settings.pipeline.timeouts == {"train_model": timedelta(hours=3)}
    assert settings.gates.model == {"auc_roc": Rule(op=">=", value=0.8)}
    policy = settings.approval_of("eu_production")
    assert (policy.break_glass, policy.roles) == (timedelta(hours=2), ("admin",))
    assert settings.data.key == ("customer_id", "day")
    assert settings.data.sources == ("a file.csv",)
    assert settings.training.holdout_from == datetime(2025, 12, 31, 23, tzinfo=UTC)
    assert [url.get_secret_value() for url in settings.notify.urls] == ["json://one", "json://two"]


@pytest.mark.parametrize("text", ["", " ", ","])
def test_an_empty_list_in_a_variable_is_no_entry_at_all(file: Path, text: str) -> None:
    settings = load(file, PROJECT, {"PENSTOCK_NOTIFY_URLS": text, "PENSTOCK_DATA_KEY": text})
    assert settings.notify.urls == ()
    assert settings.data.key == ()


@pytest.mark.parametrize(
    "name",
    [
        "PENSTOCK_ENVIRONMENT",
        "PENSTOCK_PROJECT",
        "PENSTOCK_TRACEBACK",
        "PENSTOCK_PORT",  # Kubernetes, for a service called penstock
        "PENSTOCK_PORT_8600_TCP_ADDR",
        "PENSTOCK_SERVICE_HOST",
        "PENSTOCK_TEST_POSTGRES",
        "PATH",
    ],
)
def test_variables_that_are_no_settings_but_known_are_left_alone(file: Path, name: str) -> None:
    assert load(file, PROJECT, {name: "x"}) == load(file, PROJECT)


@pytest.mark.parametrize("text", ["2026-01-01", "2026-01-01T00:00:00", '"2026-01-01T00:00:00Z"'])
def test_a_time_without_a_zone_is_utc(file: Path, text: str) -> None:
    settings = load(file, PROJECT + f"[training]\nholdout_from = {text}\n")
    assert settings.training.holdout_from == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (PROJECT + "[pipeline]\nretrys = 3\n", 4, ["pipeline.retrys", "'retries'"]),
        (PROJECT + "[pipelin]\nretries = 3\n", 3, ["pipelin", "'pipeline'"]),
        (PROJECT + "[data]\nzzz = 1\n", 4, ["data.zzz", "remove it"]),
        ('[project]\nowner = "me"\n', 1, ["project.name is missing", "under [project]"]),
        ("# nothing\n", 1, ["project is missing"]),
        (PROJECT + '[pipeline]\nretries = "many"\n', 4, ["pipeline.retries", "'many'"]),
        (PROJECT + "[pipeline]\n\nretries = -1\n", 5, ["pipeline.retries", "-1"]),
        (PROJECT + '[pipeline]\nretry_delay = "soon"\n', 4, ["retry_delay", "'soon'", "'90s'"]),
        (PROJECT + '[gates.model]\nauc = "0.8"\n', 4, ["gates.model.auc", "'>= 0.85'"]),
        (PROJECT + "[gates.model]\nauc = 0.8\n", 4, ["gates.model.auc", "'>= 0.85'"]),
        (PROJECT + "[gates]\nmodel = {auc = '== 1'}\n", 4, ["gates.model.auc", "'== 1'"]),
        (PROJECT + "pipeline.retries = 'x'\n", 3, ["project.pipeline", "remove it"]),
        ("pipeline.retries = 'x'\n" + PROJECT, 1, ["pipeline.retries", "'x'"]),
        (PROJECT + "[training]\nholdout = 1.5\n", 4, ["training.holdout", "1.5"]),
        ('[project]\nname = "8 shops"\n', 2, ["project.name", "'8 shops'"]),
        (PROJECT + '[data]\nrefresh = "never"\n', 4, ["data.refresh", "'never'", "on_change"]),
        (PROJECT + "[notify]\nemails = ['a@b.c']\n", 3, ["notify", "smtp_host is not"]),
        (PROJECT + "[environments.prod]\nx = 1\n", 3, ["environments.prod"]),
        (PROJECT + "[environments]\ndev = 3\n", 4, ["environments.dev"]),
        ("environments = 3\n" + PROJECT, 1, ["environments"]),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_line_and_key(
    file: Path, text: str, line: int, said: list[str]
) -> None:
    told = refusal(file, text).message
    assert told.startswith(f"{file}:{line}: ")
    for words in said:
        assert words in told


def test_a_mistake_in_an_environment_is_named_with_the_line_there(file: Path) -> None:
    text = PROJECT + "[pipeline]\nretries = 1\n\n[environments.dev.pipeline]\nretries = 'x'\n"
    assert refusal(file, text).message.startswith(f"{file}:7: pipeline.retries")
    assert load(file, text, environment="staging").pipeline.retries == 1


def test_every_mistake_is_told_at_once(file: Path) -> None:
    told = refusal(file, PROJECT + "[pipeline]\nretries = -1\nworkers = 0\n").message
    assert [line.split(": ")[1] for line in told.splitlines()] == [
        "pipeline.retries",
        "pipeline.workers",
    ]


def test_broken_toml_is_named_with_its_line(file: Path) -> None:
    told = refusal(file, '[project]\nname = "shop\n').message
    assert str(file) in told
    assert "line 2" in told


def test_a_file_that_is_not_utf_8_is_named_with_its_line(file: Path) -> None:
    file.write_bytes(b'[project]\nname = "caf\xe9"\n')
    with pytest.raises(SettingsError, match=":2: not UTF-8"):
        load_settings(file, "dev", {})


def test_an_unknown_environment_is_refused_with_those_there_are(file: Path) -> None:
    error = refusal(file, PROJECT, environment="prod")
    assert "'prod'" in error.message
    assert "dev, staging, production" in error.hint


def test_an_unknown_variable_is_refused_with_the_one_meant(file: Path) -> None:
    error = refusal(file, PROJECT, {"PENSTOCK_PIPELINE_RETRYS": "3"})
    assert "PENSTOCK_PIPELINE_RETRYS" in error.message
    assert "PENSTOCK_PIPELINE_RETRIES" in error.hint


def test_a_wrong_variable_is_named_and_not_the_file(file: Path) -> None:
    text = PROJECT + "[pipeline]\nretries = 1\n"
    told = refusal(file, text, {"PENSTOCK_PIPELINE_RETRIES": "x"}).message
    assert told.startswith("environment variable PENSTOCK_PIPELINE_RETRIES: pipeline.retries")
    assert str(file) not in told


SECRET_VARIABLES = {
    "PENSTOCK_NOTIFY_SMTP_PASSWORD": SECRET,
    "PENSTOCK_NOTIFY_URLS": f"slack://{SECRET}",
    "PENSTOCK_STATE_URL": f"postgresql://u:{SECRET}@host/db",
    "PENSTOCK_REGISTRY_TRACKING_URI": f"https://u:{SECRET}@host",
}


def test_secrets_are_read_but_never_shown(file: Path) -> None:
    settings = load(file, PROJECT, SECRET_VARIABLES)
    assert settings.notify.smtp_password.get_secret_value() == SECRET
    shown = (
        repr(settings),
        str(settings),
        f"{settings.notify}",
        str(settings.model_dump()),
        settings.model_dump_json(),
    )
    for text in shown:
        assert SECRET not in text


@pytest.mark.parametrize(
    ("more", "variables"),
    [
        ("[notify]\nemails = ['a@b.c']\n", {}),  # a check of the whole section fails
        ("", {"PENSTOCK_NOTIFY_URLS": f'[["slack://{SECRET}"]]'}),
        ("", {"PENSTOCK_NOTIFY_URLS": f'{{a = "{SECRET}"}}'}),
        ("[notify]\nsmtp_port = 'x'\n", {}),
    ],
)
def test_secrets_do_not_come_back_in_errors(
    file: Path, more: str, variables: dict[str, str]
) -> None:
    error = refusal(file, PROJECT + more, SECRET_VARIABLES | variables)
    assert SECRET not in f"{error!r} {error} {error.as_dict()} {error.__cause__!r}"


@pytest.mark.parametrize(
    ("more", "line", "variable"),
    [
        ("[notify]\nsmtp_password = 'hunter2'\n", 4, "PENSTOCK_NOTIFY_SMTP_PASSWORD"),
        ("[notify]\nurls = ['slack://hunter2']\n", 4, "PENSTOCK_NOTIFY_URLS"),
        ("[state]\nurl = 'postgresql://u:hunter2@h/db'\n", 4, "PENSTOCK_STATE_URL"),
        ("[state]\nurl = 'postgresql://u:hunter2/x@h/db'\n", 4, "PENSTOCK_STATE_URL"),
        ("[state]\nurl = 'postgresql://h/db?password=hunter2'\n", 4, "PENSTOCK_STATE_URL"),
        ("[registry]\ntracking_uri = 'https://u:hunter2@h'\n", 4, "PENSTOCK_REGISTRY_TRACKING_URI"),
        (
            "[environments.production.notify]\nsmtp_password = 'hunter2'\n",
            4,  # not even the environment that is asked for
            "PENSTOCK_NOTIFY_SMTP_PASSWORD",
        ),
    ],
)
def test_a_secret_in_the_file_is_refused(file: Path, more: str, line: int, variable: str) -> None:
    error = refusal(file, PROJECT + more)
    assert error.message.startswith(f"{file}:{line}: ")
    assert variable in error.hint
    assert SECRET not in str(error)


@pytest.mark.parametrize(
    "url", ["sqlite:////tmp/state.db", "postgresql+psycopg://penstock@localhost:5432/state"]
)
def test_an_address_without_a_password_may_stand_in_the_file(file: Path, url: str) -> None:
    assert load(file, PROJECT + f"[state]\nurl = '{url}'\n").state.url.get_secret_value() == url


def test_settings_are_frozen_and_cross_processes(file: Path) -> None:
    settings = load(file, LAYERS)
    with pytest.raises(ValidationError):
        settings.pipeline.retries = 9  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(settings)) == settings


TEXT = """\
# penstock
top.level = 1

[project]
name = "shop"

  [pipeline.timeouts]
  train_model = "3h"

[gates]
model.auc_roc = ">= 0.8"
integration = {error_rate = "< 0.1"}

[environments.dev.pipeline]
retries = 0

[environments.production]
pipeline.retries = 5
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("project.name", 5),
        ("project", 4),
        ("project.owner", 4),  # not there: the table that should hold it
        ("top.level", 2),
        ("pipeline.timeouts.train_model", 8),
        ("gates.model.auc_roc", 11),
        ("gates.integration.error_rate", 12),
        ("environments.dev.pipeline.retries", 15),
        ("environments.production.pipeline.retries", 18),
        ("environments.production", 17),
        ("nowhere", 1),
    ],
)
def test_line_of(path: str, line: int) -> None:
    assert line_of(TEXT, tuple(path.split("."))) == line


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("250ms", timedelta(milliseconds=250)),
        ("90s", timedelta(seconds=90)),
        ("1.5m", timedelta(seconds=90)),
        (" 2 h ", timedelta(hours=2)),
        ("30d", timedelta(days=30)),
    ],
)
def test_durations(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize("text", ["", "5", "m", "5 minutes", "-5m", "1h30m", "5M"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@given(st.sampled_from(["<", "<=", ">", ">="]), st.integers(-(10**6), 10**6))
def test_a_threshold_reads_back_as_it_prints(op: str, thousandths: int) -> None:
    rule = Rule(op=op, value=thousandths / 1000)
    read = Rule(**parse_rule(str(rule)))
    assert read.op == rule.op
    assert read.value == pytest.approx(rule.value, rel=1e-5)  # six digits are printed


@given(st.lists(st.from_regex(r"[^,\s]+", fullmatch=True)), st.sampled_from([",", " ", ", ", "\n"]))
def test_words_are_separated_by_commas_or_blanks(words: list[str], separator: str) -> None:
    assert list(split_words(separator.join(words))) == words
