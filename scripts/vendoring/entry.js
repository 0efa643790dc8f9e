// All that the page takes from libraries, and nothing else of them.
export { Component, Fragment, createContext, h, render } from 'preact'
export { useCallback, useContext, useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks'
export { batch, computed, effect, signal, untracked, useComputed, useSignal, useSignalEffect } from '@preact/signals'
export { default as uPlot } from 'uplot'
