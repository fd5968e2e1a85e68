// Turns a control flow graph into nested blocks and loops, as WebAssembly wants them. Recursive
// over strongly connected components: a level is a list of items in topological order, a loop's
// body is a level of its own without the edges to the loop's header. What enters a loop elsewhere
// than at its header (irreducible edges, entries of the unit) goes to the header with the number of
// the block. Pure: graph in, tree out.

export interface ControlGraph {
  /** By node: the nodes that may come next. */
  readonly successors: readonly (readonly number[])[];
  /** Nodes at which the graph can be entered; at least one. */
  readonly entries: readonly number[];
}

/** Items of one function or loop: control goes to later items only, or to the loop's header. */
export interface StructureLevel {
  /** Node that begins the loop, as the first item; -1 for the outermost level. */
  readonly header: number;
  readonly items: readonly StructureItem[];
  /** Index of the item that holds a node; nodes of nested loops too. */
  readonly indexOf: ReadonlyMap<number, number>;
  /** Nodes where control may come from outside without passing the header; ascending. */
  readonly entered: readonly number[];
}

/** A node by its number, or a loop. */
export type StructureItem = number | StructureLevel;

export interface Structure {
  readonly root: StructureLevel;
  /** For nodes that a level is entered at: their number in tables of entries, from 1. */
  readonly enterNumbers: ReadonlyMap<number, number>;
}

/** Time is linear in edges for each depth of loops. */
export function structureOf(graph: ControlGraph): Structure {
  const { successors, entries } = graph;
  const predecessors = successors.map((): number[] => []);
  for (const [node, targets] of successors.entries()) {
    for (const target of targets) predecessors[target]!.push(node);
  }
  const isEntry = new Set(entries);
  const all = successors.map((_, node) => node);
  const root = makeLevel(-1, all, [...isEntry].sort(ascending));
  const numbered = new Set<number>();
  collectEntered(root, numbered);
  const numbers = [...numbered].sort(ascending).map((node, index) => [node, index + 1] as const);
  return { root, enterNumbers: new Map(numbers) };

  /** @param nodes of the level without its header */
  function makeLevel(
    header: number,
    nodes: readonly number[],
    entered: readonly number[],
  ): StructureLevel {
    const items: StructureItem[] = header < 0 ? [] : [header];
    const indexOf = new Map<number, number>();
    if (header >= 0) indexOf.set(header, 0);
    for (const component of components(nodes, successors)) {
      for (const node of component) indexOf.set(node, items.length);
      items.push(makeItem(component));
    }
    return { header, items, indexOf, entered };
  }

  function makeItem(component: readonly number[]): StructureItem {
    const first = component[0]!;
    if (component.length === 1 && !successors[first]!.includes(first)) return first;
    const inside = new Set(component);
    const isEntered = (node: number) =>
      isEntry.has(node) || predecessors[node]!.some((from) => !inside.has(from));
    const entered = component.filter(isEntered);
    const backEdges = (node: number) =>
      predecessors[node]!.filter((from) => inside.has(from)).length;
    const fromOutside = (node: number) => predecessors[node]!.length - backEdges(node);
    // Best is a header through which all ways lead in; of several such, the one most come back to.
    let header = first;
    for (const node of entered.length > 0 ? entered : component) {
      const isBetter =
        Math.sign(fromOutside(node)) - Math.sign(fromOutside(header)) ||
        backEdges(node) - backEdges(header) ||
        header - node;
      if (isBetter > 0 || !entered.includes(header)) header = node;
    }
    const body = component.filter((node) => node !== header);
    return makeLevel(
      header,
      body,
      entered.filter((node) => node !== header),
    );
  }
}

function collectEntered(level: StructureLevel, numbered: Set<number>): void {
  for (const node of level.entered) numbered.add(node);
  for (const item of level.items) if (typeof item !== 'number') collectEntered(item, numbered);
}

function ascending(a: number, b: number): number {
  return a - b;
}

/**
 * Strongly connected components of the graph that `nodes` span, each ascending, in a topological
 * order that keeps the order of the nodes' numbers where it can. Tarjan's algorithm, without
 * recursion.
 */
function components(
  nodes: readonly number[],
  successors: readonly (readonly number[])[],
): number[][] {
  const isIn = new Set(nodes);
  const order = new Map<number, number>();
  const low = new Map<number, number>();
  const stack: number[] = [];
  const onStack = new Set<number>();
  const found: number[][] = [];
  // Components come out last first; trying later successors first puts earlier ones in front.
  for (const start of [...nodes].sort(ascending).reverse()) {
    if (!order.has(start)) visit(start);
  }
  return found.reverse();

  function open(node: number): { node: number; rest: number[] } {
    order.set(node, order.size);
    low.set(node, order.get(node)!);
    stack.push(node);
    onStack.add(node);
    // Taken from the end.
    const rest = successors[node]!.filter((next) => isIn.has(next)).sort(ascending);
    return { node, rest };
  }

  function visit(start: number): void {
    const path = [open(start)];
    while (path.length > 0) {
      const { node, rest } = path.at(-1)!;
      const next = rest.pop();
      if (next !== undefined) {
        if (!order.has(next)) path.push(open(next));
        else if (onStack.has(next)) low.set(node, Math.min(low.get(node)!, order.get(next)!));
        continue;
      }
      path.pop();
      const above = path.at(-1);
      if (above) low.set(above.node, Math.min(low.get(above.node)!, low.get(node)!));
      if (low.get(node) !== order.get(node)) continue;
      const component: number[] = [];
      for (let member = -1; member !== node; ) {
        member = stack.pop()!;
        onStack.delete(member);
        component.push(member);
      }
      found.push(component.sort(ascending));
    }
  }
}
