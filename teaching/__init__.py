"""What a teacher does with handed-in labs, around nbgrader.   python course.py grade LAB=lab01

It runs in .venv-test alone, and is no room of ``course_lib``: students never import it, and nbgrader is not in their
environment.

    submissions   a folder as students left it -> whose is what, and a notebook that nbgrader can read
    execution     runs a notebook to its end whatever its cells do
    grade_one     one student, in a process of his own
    grade         the job: everyone, the grade book, feedback, the table of grades
"""
