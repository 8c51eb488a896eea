"""nbgrader: solutions/ is written by hand, exercises/ is generated from it (make exercises)."""

c = get_config()  # noqa: F821  (nbgrader provides it)
c.CourseDirectory.course_id = "neural-network-compression"
c.CourseDirectory.source_directory = "solutions"
c.CourseDirectory.release_directory = "exercises"
