// Many asynchronous tasks at once, but never more than so many.

/** Keeps `count` tasks under way until `begin` gives undefined and all have ended. Rejects with the first failure. */
export function keepInFlight(count: number, begin: () => Promise<unknown> | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    let flying = 0;
    let ended = false;
    const landed = () => {
      flying--;
      fill();
    };
    const fill = () => {
      try {
        while (!ended && flying < count) {
          const task = begin();
          if (task === undefined) ended = true;
          else {
            flying++;
            task.then(landed, reject);
          }
        }
      } catch (error) {
        ended = true;
        reject(error instanceof Error ? error : new Error(String(error)));
      }
      if (ended && flying === 0) resolve();
    };
    fill();
  });
}
