"""Pictures. Only this folder, the claims and the report files import matplotlib."""
