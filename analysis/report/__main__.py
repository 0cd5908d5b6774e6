"""``python -m analysis.report study=runs/demo``: rebuild the page of a study."""

from analysis.report import main

if __name__ == "__main__":
    main()
