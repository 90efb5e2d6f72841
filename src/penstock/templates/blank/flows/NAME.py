"""The plan of this project as a Prefect flow: `python flows/NAME.py` runs it on schedule."""

from penstock.orchestrators.prefect import build_flow, serve

flow = build_flow(__file__)

if __name__ == "__main__":
    serve(__file__)
