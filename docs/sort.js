// A click on the head of a table sorts its rows, numbers as numbers; a second click turns the order round.
document$.subscribe(() => {
  for (const table of document.querySelectorAll("article table")) {
    table.dataset.sortable = "yes";
    table.querySelectorAll("th").forEach((head, column) => {
      head.style.cursor = "pointer";
      head.title = "sort";
      head.addEventListener("click", () => {
        const sign = (head.dataset.sign = head.dataset.sign === "1" ? "-1" : "1");
        const value = (row) => row.cells[column].textContent.trim();
        const rows = [...table.tBodies[0].rows].sort((a, b) => {
          const [x, y] = [value(a), value(b)];
          const both = x !== "" && y !== "" && !isNaN(x) && !isNaN(y);
          return sign * (both ? x - y : x.localeCompare(y, "en", { numeric: true }));
        });
        table.tBodies[0].append(...rows);
      });
    });
  }
});
