// A dialog that gives the focus back to where it was, also when it is taken off the page as a whole.
import { Modal as Base, type ModalProps } from "@mantine/core";
import { useEffect, useState } from "react";

export function Modal(props: ModalProps) {
  const [before] = useState(() => document.activeElement);
  useEffect(() => () => {
    setTimeout(() => {
      const lost = document.activeElement === null || document.activeElement === document.body;
      if (lost && before instanceof HTMLElement && before.isConnected) before.focus({ preventScroll: true });
    });
  }, [before]);
  return <Base {...props} />;
}
