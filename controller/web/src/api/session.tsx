// Who is signed in, and what they may do.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { createContext, useContext, type ReactNode } from "react";
import { can as allowed } from "../permission";
import { api, ApiError, credentials, take, type Schemas } from "./client";

export type SignedIn = Schemas["SignedIn"];

type Session = { who: SignedIn; can: (...permissions: string[]) => boolean; signOut: () => Promise<void> };

const Context = createContext<Session | null>(null);

/** The session of the person who is signed in. Only inside of Signed. */
export function useSession(): Session {
  const s = useContext(Context);
  if (!s) throw new Error("no session");
  return s;
}

/** Whether somebody is signed in: also where nobody needs to be. */
export const useSignedIn = () => useContext(Context) !== null;

export const sessionKey = ["session"];

async function ask(): Promise<SignedIn | null> {
  try {
    const who = await take(api.GET("/session"));
    credentials.setCSRF(who.csrf_token);
    return who;
  } catch (err) {
    if (err instanceof ApiError && err.status === 401) {
      credentials.setToken("");
      return null;
    }
    throw err;
  }
}

/** Shows its children to whoever is signed in, and the way in to everybody else. */
export function Signed({ children, entrance, loading, failed }: { children: ReactNode; entrance: ReactNode; loading: ReactNode; failed: (err: unknown, again: () => void) => ReactNode }) {
  const client = useQueryClient();
  const { data: who, error, isPending, refetch } = useQuery({ queryKey: sessionKey, queryFn: ask, staleTime: 60_000, retry: 1 });
  if (isPending) return loading;
  if (error && !who) return failed(error, () => void refetch());
  if (!who) return entrance;
  const session: Session = {
    who,
    can: (...permissions) => allowed(who, ...permissions),
    signOut: async () => {
      if (!credentials.token()) await take(api.DELETE("/session")).catch(() => undefined);
      credentials.setToken("");
      credentials.setCSRF("");
      client.setQueryData(sessionKey, null);
      client.removeQueries({ predicate: (q) => q.queryKey[0] !== sessionKey[0] }); // nothing stays for whoever comes next
    },
  };
  return <Context.Provider value={session}>{children}</Context.Provider>;
}
