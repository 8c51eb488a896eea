# One line per job; course.py does the work, and runs without make too (python course.py lab).
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python py; do \
  $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' >/dev/null 2>&1 && echo $$p && break; done)
COURSE = $(if $(PYTHON),$(PYTHON) course.py,$(error No Python 3.11 to 3.14 found: install one (python.org, or your \
system's packages) or say where it is with PYTHON=/path/to/python3))
export PORT LAB_ARGS LAB LECTURE SUBMISSIONS LIMIT MINUTES

help:        ; @$(COURSE) help
lab:         ; @$(COURSE) lab
start:       ; @$(COURSE) start
test:        ; @$(COURSE) test $(ARGS)
check:       ; @$(COURSE) check $(ARGS)
fuzz:        ; @$(COURSE) fuzz $(ARGS)
bench:       ; @$(COURSE) bench $(ARGS)
execute:     ; @$(COURSE) execute $(ARGS)
exercises:   ; @$(COURSE) exercises
nets:        ; @$(COURSE) nets
grade:       ; @$(COURSE) grade $(ARGS)
formgrader:  ; @$(COURSE) formgrader
slides:      ; @$(COURSE) slides $(ARGS)
html:        ; @$(COURSE) html $(ARGS)
clean-cache: ; @$(COURSE) clean-cache
setup:       ; @$(COURSE) setup

.PHONY: help lab start test check fuzz bench execute exercises nets grade formgrader slides html clean-cache setup
